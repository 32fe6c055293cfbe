"""What ``haagent sniff`` shows of one datagram: a line for people, values for scripts.

What nobody has proved stands in brackets behind the word ``claims``: whoever can send on the
network can have made it up.

What this module does not do: listen, or verify (``haagent.wire.inspection``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from haagent.core.clocks import Stamp
from haagent.core.identity import GroupId, group_id, node_id
from haagent.core.messages import (
    Datagram,
    Flag,
    Heartbeat,
    NodeAck,
    NodeHeartbeat,
)
from haagent.core.units import WallNs
from haagent.wire.inspection import Inspected, Proof, Said
from haagent.wire.udp import UdpDatagram

_NODES = {"node", "sender", "master", "destination", "target", "successor", "agent"}
_HEXADECIMAL = {"boot", "nonce", "config_hash"}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Seen:
    """One datagram, when and where."""

    at: WallNs
    interface: str
    datagram: UdpDatagram
    inspected: Inspected


class Names:
    """Names of the ids on the wire: what the operator has named, and what is heard.

    An id is the hash of a name, so a name that is heard needs no proof to be that of its id.
    """

    def __init__(self, groups: tuple[str, ...], nodes: tuple[str, ...]) -> None:
        self._groups = {group_id(name): name for name in groups}
        self._nodes: dict[int, str] = {node_id(name): name for name in nodes}

    def learn(self, said: Said | None) -> None:
        """Take in the name that a heartbeat tells."""
        match said:
            case Datagram(header, Heartbeat(name=name)):
                sender: int = header.sender
            case NodeHeartbeat(sender=sender, name=name):
                pass
            case _:
                return
        if node_id(name) == sender:
            self._nodes[sender] = name

    def node(self, number: int) -> str:
        """Return the name of a node, or its id in hexadecimal digits."""
        return self._nodes.get(number, f"{number:016x}")

    def group(self, number: GroupId) -> str:
        """Return the name of a group, or its id."""
        return self._groups.get(number, f"{number:04x}")


def line(seen: Seen, names: Names) -> str:
    """Return what is shown of ``seen`` to a person."""
    datagram, inspected = seen.datagram, seen.inspected
    moment = datetime.fromtimestamp(seen.at // 1_000_000_000, UTC)
    clock = f"{moment:%H:%M:%S}.{seen.at % 1_000_000_000 // 1000:06}"
    way = f"{datagram.source} > {datagram.destination} ttl {datagram.ttl}"
    said = " ".join(_told(inspected.said, names)) if inspected.said is not None else ""
    if said and inspected.proof is not Proof.OK:
        said = f"claims [{said}]"
    parts = [clock, seen.interface, way, inspected.proof.value]
    return "  ".join(part for part in (*parts, _trouble(inspected), said) if part)


def values(seen: Seen, names: Names) -> dict[str, Any]:
    """Return ``seen`` as JSON values."""
    datagram, inspected = seen.datagram, seen.inspected
    moment = datetime.fromtimestamp(seen.at / 1e9, UTC)
    discard = inspected.trouble
    return {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "interface": seen.interface,
        "source": str(datagram.source),
        "source_port": datagram.source_port,
        "destination": str(datagram.destination),
        "destination_port": datagram.destination_port,
        "ttl": datagram.ttl,
        "bytes": len(datagram.payload),
        "proof": inspected.proof.name.lower(),
        "discard": None
        if discard is None
        else {"reason": discard.reason.name.lower(), "detail": discard.detail},
        "type": None if inspected.said is None else _type(inspected.said),
        "claims" if inspected.proof is not Proof.OK else "says": _plain(inspected.said, names),
    }


def _trouble(inspected: Inspected) -> str:
    discard = inspected.trouble
    if discard is None:
        return ""
    return f"{discard.reason.name.lower()}: {discard.detail}".removesuffix(": ")


def _type(said: Said) -> str:
    kind = said.body if isinstance(said, Datagram) else said
    return _WORDS.sub("_", type(kind).__name__).upper()


def _told(said: Said, names: Names) -> Iterator[str]:
    yield _type(said)
    match said:
        case Datagram(header, body):
            yield f"from {names.node(header.sender)} in {names.group(header.group)}:"
            yield f"{header.state.name.lower()}, term {header.term},"
            yield f"master {names.node(header.master) if header.master else 'none'},"
            yield f"priority {header.base_priority}, effective {header.priority},"
            yield f"health {header.health},"
            yield f"next in {header.interval_ms} ms, dead after {header.timeout_ms} ms,"
            yield f"hlc {_stamp(header.stamp)},"
            yield f"flags {','.join(_flags(header.flags)) or 'none'},"
            yield f"boot {header.boot:016x}, sequence {header.sequence}, path {header.path};"
            yield _fields(_plain(body, names))
        case NodeHeartbeat() | NodeAck():
            yield _fields(_plain(said, names))


def _flags(flags: Flag) -> list[str]:
    return [str(flag.name).lower() for flag in flags]


def _stamp(stamp: Stamp) -> str:
    return f"{stamp.hlc.ms}.{stamp.hlc.counter} lamport {stamp.lamport}"


def _fields(plain: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in plain.items())


def _text(value: Any) -> str:
    match value:
        case dict():
            return f"{{{_fields(value)}}}"
        case list():
            return f"[{', '.join(map(_text, value))}]"
        case None:
            return "none"
        case _:
            return str(value)


def _plain(value: Any, names: Names, name: str = "") -> Any:
    """Return ``value``, a field called ``name``, as JSON values with names for ids."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Flag):
        return _flags(value)
    if isinstance(value, Enum):
        return value.name.lower()
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), names, f.name) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each, names) for each in value]
    if isinstance(value, int):
        return _number(value, names, name)
    return str(value)


def _number(value: int, names: Names, name: str) -> int | str:
    if name in _NODES:
        return names.node(value)
    if name == "group":
        return names.group(GroupId(value))
    return f"{value:016x}" if name in _HEXADECIMAL else value
