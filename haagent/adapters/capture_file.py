"""Datagrams out of a capture file, as tcpdump and Wireshark write them, through scapy.

Scapy knows the link layers and both formats (pcap, pcapng).  It takes 0.2 s and 45 MB to import,
and is imported here alone, when a file is read.

What this module does not do: listen (``haagent.adapters.link.capture``), or read haagent's format.
"""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from haagent.core.units import WallNs
from haagent.wire import udp
from haagent.wire.udp import UdpDatagram


class CaptureError(Exception):
    """The file cannot be read, or not to its end; ``str()`` says why."""


class Captured(NamedTuple):
    """A datagram, when it was captured, and where if the file says so."""

    at: WallNs
    interface: str
    datagram: UdpDatagram


class _Watched(io.BufferedReader):
    """Notices that a file ends in the middle of something."""

    short = 0
    """Reads that got less than they asked for; the last one of a whole file does."""
    partly = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            self.short += 1
            self.partly = self.partly or bool(data)
        return data


def captured(path: Path) -> Iterator[Captured]:
    """Yield each UDP datagram in the file at ``path``, in its order.

    Raises: CaptureError, also at the end of a file that is cut.
    """
    scapy = _scapy()
    try:
        with path.open("rb", buffering=0) as opened, _Watched(opened) as file:
            yield from _read(scapy, file)
            if file.partly or file.short > 1:
                text = f"{path}: is cut: it ends within a packet"
                raise CaptureError(text)
    except OSError as error:
        text = f"{path}: cannot be read: {error.strerror or error}"
        raise CaptureError(text) from None
    except CaptureError:
        raise
    except Exception as error:
        # Scapy means to raise one of its own; of a broken pcapng it raises what it may.
        text = f"{path}: is no capture, or a broken one: {error}"
        raise CaptureError(text) from None


def _scapy() -> Any:
    """Raises: CaptureError where it is not installed."""
    try:
        import scapy.error  # noqa: PLC0415
        import scapy.layers.inet  # noqa: PLC0415
        import scapy.layers.inet6  # noqa: PLC0415
        import scapy.layers.l2  # noqa: PLC0415
        import scapy.utils  # noqa: PLC0415
    except ImportError:
        text = "reading a capture takes scapy: pip install 'haagent[tools]'"
        raise CaptureError(text) from None
    # It says what it finds strange in a file, which is ours to say.
    for name in ("scapy", "scapy.runtime", "scapy.loading"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return scapy


def _read(scapy: Any, file: IO[bytes]) -> Iterator[Captured]:
    """Raises: Scapy_Exception when it is no capture."""
    with scapy.utils.RawPcapReader(file) as reader:
        for data, told in reader:
            # A pcap has one link type and one precision, of a pcapng each packet its own.
            linktype = getattr(told, "linktype", None) or reader.linktype
            datagram = _datagram(scapy, linktype, data)
            if datagram is not None:
                yield Captured(_instant(reader, told), _interface(told), datagram)


def _datagram(scapy: Any, linktype: int, data: bytes) -> UdpDatagram | None:
    layer = scapy.config.conf.l2types.num2layer.get(linktype)
    if layer is None:
        return None
    try:
        packet = layer(data)
    except Exception:  # whatever a dissector makes of strange bytes
        return None
    ip = packet.getlayer("IP") or packet.getlayer("IPv6")
    return None if ip is None else udp.parse(bytes(ip.original))


def _instant(reader: Any, told: Any) -> WallNs:
    if hasattr(told, "tshigh"):
        ticks = told.tshigh << 32 | told.tslow
        return WallNs(ticks * 1_000_000_000 // (told.tsresol or 1_000_000))
    return WallNs(told.sec * 1_000_000_000 + told.usec * (1 if reader.nano else 1000))


def _interface(told: Any) -> str:
    name = getattr(told, "ifname", None)
    return name.decode("utf-8", "replace") if name else "-"
