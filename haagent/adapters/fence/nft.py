"""The fence where BPF cannot be had: an nftables guard whose elements time out.

``haagent.adapters.fence.ruleset`` says what the rules do.  The timeouts run from the moment of
the renewal: an agent that is stopped between reading the clock and sending the frame opens the
address for up to the rest of its lease when it wakes.  They end within one tick of the kernel's
timer.  ``nft flush ruleset`` deletes the guard until :meth:`NftGuard.install` is called again.

A renewal is one frame; only a length of lease that was not seen before costs a transaction.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterable, Mapping

from haagent.adapters.fence import link, ruleset
from haagent.adapters.fence.descriptors import OwnDescriptors
from haagent.adapters.fence.libnftables import Nft
from haagent.core.settings import FenceLevel, IPAddress
from haagent.core.units import MonoNs

_GREATEST_MS = 0xFFFF


class NftGuard:
    """See the module docstring.  The owner of the table is its process alone."""

    level = FenceLevel.NFT

    def __init__(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None:
        """Raises: OSError for want of libnftables, CAP_NET_ADMIN, CAP_NET_RAW or of the kernel."""
        self._addresses = addresses
        self._until: dict[tuple[str, IPAddress], MonoNs] = {}
        self._lengths: set[int] = set()
        self._guarded: dict[str, int] = {}
        """Index of each interface that the rules name."""
        self._mended: set[str] = set()
        """Where :meth:`open` found no guard; :meth:`install` has still to tell."""
        self._own = OwnDescriptors()
        try:
            self._nft = self._own.run(Nft)
            self._try()
            # Protocol 0: it receives nothing.
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            self._frames = socket.socket(socket.AF_PACKET, kind, 0)
        except OSError:
            self._own.close()
            raise

    def install(self) -> list[str]:
        """Put the guard where it is missing; return the names of those interfaces.

        Raises: OSError.
        """
        present = _present(self._addresses)
        missing = [i for i in present if present[i] != self._guarded.get(i) or self._passes(i)]
        if missing:
            self._guarded = present
            self._write()
        mended, self._mended = self._mended, set()
        return [interface for interface in present if interface in {*missing, *mended}]

    def open(self, interface: str, address: IPAddress, until: MonoNs) -> None:
        """Let packets pass until the instant ``until``, or from :meth:`install` on.

        Raises: OSError.
        """
        self._until[interface, address] = until
        if interface not in self._guarded:
            return
        left = _left_ms(until)
        if not self._fits(left):
            # Shorter ones too, for renewals that come late: between two of them lies less than
            # an eighth, or a late one would cost a transaction, and some ms of silence.
            self._lengths |= {left * part // 16 for part in range(8, 17)} - {0}
            self._write()
        elif not self._tell(interface, address):
            self._write()
            self._mended |= {interface} & self._guarded.keys()

    def close(self, interface: str, address: IPAddress) -> None:
        """Let nothing pass.  Raises: OSError."""
        self.open(interface, address, MonoNs(0))

    @staticmethod
    def give(_keep: Callable[[int], None]) -> None:
        """Raises: OSError, because the rules that open would not be those of the next process."""
        raise OSError(errno.EOPNOTSUPP, "level nft cannot outlive its process")

    def changed(self, addresses: Mapping[str, frozenset[IPAddress]]) -> "NftGuard":
        """Guard ``addresses`` instead, in one step; what is open in both stays so.

        It must be this very guard: nobody else may replace a table that it owns.
        Raises: OSError; then everything is as before.
        """
        present = _present(addresses)
        before = self._addresses, self._until, self._guarded
        self._addresses, self._guarded = addresses, present
        self._until = {
            (interface, address): until
            for (interface, address), until in self._until.items()
            if address in addresses.get(interface, ())
        }
        try:
            self._write()
        except OSError:
            self._addresses, self._until, self._guarded = before
            raise
        return self

    def let_go(self) -> None:
        """Close every address and all descriptors."""
        self._frames.close()
        self._own.run(self._nft.close)
        self._own.close()

    @staticmethod
    def remove() -> None:
        """Delete the guard, whoever made it.  Raises: OSError."""
        nft = Nft()
        try:
            nft.run(f"add table netdev {ruleset.GUARD}\ndelete table netdev {ruleset.GUARD}\n")
        finally:
            nft.close()

    def _try(self) -> None:
        # The loopback interface stands for those that may yet come, the other name for tables
        # that a running agent owns.
        trial = ruleset.tables({"lo": frozenset()}, (), {}).replace(ruleset.GUARD, "haagent_trial")
        self._own.run(self._nft.run, trial, check=True)

    def _write(self) -> None:
        """Replace both tables in one step; what is open stays so.

        What a transaction opens is open for longer by the time that it took: mended at once.
        A packet that is on its way through the rules in this moment may be lost: of 3,000 a second
        one in 1 to 10 of 100 exchanges.
        """
        guarded = {interface: self._addresses[interface] for interface in self._guarded}
        left = {place: _left_ms(until) for place, until in self._until.items()}
        self._own.run(self._nft.run, ruleset.tables(guarded, sorted(self._lengths), left))
        for (interface, address), until in self._until.items():
            if self._fits(_left_ms(until)):
                self._tell(interface, address)

    def _tell(self, interface: str, address: IPAddress) -> bool:
        """Have the guard open or close ``address``; return whether it heard."""
        length = self._length(_left_ms(self._until[interface, address]))
        return self._send(interface, ruleset.frame(address, length)) == errno.ENOBUFS

    def _fits(self, left: int) -> bool:
        """Return whether rules know a timeout that is at most an eighth shorter."""
        return 8 * self._length(left) >= 7 * left

    def _length(self, left: int) -> int:
        """Return the greatest timeout that rules know within ``left``, 0 when there is none."""
        return max((known for known in self._lengths if known <= left), default=0)

    def _passes(self, interface: str) -> bool:
        """Return whether a frame leaves that the guard would have swallowed."""
        return self._send(interface, ruleset.frame()) == 0

    def _send(self, interface: str, frame: bytes) -> int:
        """Return the errno of sending, which is ENOBUFS when the guard swallows the frame."""
        try:
            self._frames.sendto(frame, (interface, ruleset.FRAME_TYPE))
        except OSError as error:
            return error.errno or errno.ENODEV
        return 0


def _present(interfaces: Iterable[str]) -> dict[str, int]:
    """Return the index of each interface that is there."""
    found = {interface: link.index(interface) for interface in interfaces}
    return {interface: index for interface, index in found.items() if index}


def _left_ms(until: MonoNs) -> int:
    left = (until - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000
    return max(0, min(left, _GREATEST_MS))
