"""The fence at its best: programs at traffic control that compare a deadline.

``fence.bpf.c`` says what the programs do.  They stay on an interface when the agent dies and
then let nothing of an address through.  Opening an address is one store into a page that the
programs read: no system call, exact to the nanosecond, and worthless when it comes too late.

The next agent puts its own programs in their place in one step.  No pin, so no need of bpffs:
a filter of traffic control keeps the program, the program keeps its maps.

What this module does not do: follow VLANs above the interface, members of a bond or macvlans,
which are interfaces of their own.
"""

import errno
import socket
import struct
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from haagent.adapters.fence import libbpf, link
from haagent.adapters.fence.descriptors import OwnDescriptors
from haagent.core.settings import FenceLevel, IPAddress
from haagent.core.units import MonoNs

OBJECT = Path(__file__).with_name("fence.bpf.o")
"""Made of ``fence.bpf.c`` by ``make bpf``."""

_PRIORITY = 1
"""Before every other filter, which could let a packet pass for good."""

_OVER_OUR_CLSACT, _OVER_FOREIGN_CLSACT = 0x6861_0001, 0x6861_0002
"""Our filters' handles: "ha", and whether the queueing discipline below was made for them, so
that any process can take away what is ours and no more."""

_PROGRAMS = {libbpf.INGRESS: "haagent_ingress", libbpf.EGRESS: "haagent_egress"}

_CLOSED = MonoNs(0)


class BpfGuard:
    """See the module docstring.  Dies with its process: nobody else may hold its descriptors."""

    level = FenceLevel.BPF

    def __init__(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None:
        """Raises: OSError for want of libbpf, of CAP_BPF and CAP_NET_ADMIN, or of the kernel."""
        self._addresses = addresses
        pairs = [
            (interface, address) for interface in addresses for address in addresses[interface]
        ]
        self._slots = {pair: slot for slot, pair in enumerate(pairs)}
        size = max(1, len(pairs))
        # Twice as many slots: an interface may be renamed while another takes its name.
        self._own = OwnDescriptors()
        try:
            self._object = self._own.run(
                libbpf.Object, OBJECT, {"slots": 2 * size, "deadlines": size}
            )
            self._deadlines = self._own.run(self._object.words, "deadlines", size)
        except OSError:
            self._own.close()
            raise
        self._indexes: dict[str, int] = {}
        self._ids: dict[int, int] = {}
        """What the kernel calls our programs, by the point where they are attached."""

    def install(self) -> list[str]:
        """Put the guard where it is missing; return the names of those interfaces.

        Raises: OSError.
        """
        run = self._own.run
        return [interface for interface in self._addresses if run(self._install_on, interface)]

    def open(self, interface: str, address: IPAddress, until: MonoNs) -> None:
        """Let packets pass until the instant ``until``, or from :meth:`install` on."""
        self._deadlines[self._slots[interface, address]] = until

    def close(self, interface: str, address: IPAddress) -> None:
        """Let nothing pass."""
        self.open(interface, address, _CLOSED)

    def give(self, keep: Callable[[int], None]) -> None:
        """Have ``keep`` called with the program array that holds all addresses open."""
        self._own.run(lambda: keep(self._object.map("alive")))

    def changed(self, addresses: Mapping[str, frozenset[IPAddress]]) -> "BpfGuard":
        """Return the guard of ``addresses`` that has taken the place of this one.

        What both guard stays open without a gap.
        Raises: OSError; then this guard stands as before.
        """
        new = BpfGuard(addresses)
        for place in self._slots.keys() & new._slots.keys():
            new.open(*place, MonoNs(self._deadlines[self._slots[place]]))
        try:
            new.install()
        except OSError:
            self.install()
            new.let_go()
            raise
        for interface in self._indexes.keys() - addresses.keys():
            _take_off(self._indexes[interface])
        # Without closing: a packet may still be on its way through the old programs.
        self._give_up()
        return new

    def let_go(self) -> None:
        """Close every address and all descriptors."""
        for interface, address in self._slots:
            self.close(interface, address)
        self._give_up()

    def _give_up(self) -> None:
        self._own.run(self._object.close)
        self._own.close()

    @staticmethod
    def remove() -> None:
        """Take our filters, whoever attached them, off all interfaces.  Raises: OSError."""
        for index, _ in socket.if_nameindex():
            _take_off(index)

    def _install_on(self, interface: str) -> bool:
        index = link.index(interface)
        if not index or (self._indexes.get(interface) == index and _standing(index) == self._ids):
            return False
        self._fill_slots(interface, index)
        self._attach(index)
        if _standing(index) != self._ids:
            # The kernel takes egress filters there, and runs them on ingress.
            libbpf.detach(index, libbpf.INGRESS, _PRIORITY, _OVER_FOREIGN_CLSACT)
            raise OSError(errno.EEXIST, f"{interface} has the qdisc ingress in place of clsact")
        return True

    def _attach(self, index: int) -> None:
        made = libbpf.add_clsact(index)
        handle = _OVER_OUR_CLSACT if made or _has_ours(index) else _OVER_FOREIGN_CLSACT
        for point, name in _PROGRAMS.items():
            program = self._object.program(name)
            self._ids[point] = libbpf.attach(index, point, program, _PRIORITY, handle)

    def _fill_slots(self, interface: str, index: int) -> None:
        """Tell the programs which addresses to guard, before they see a packet."""
        slots, before = self._object.map("slots"), self._indexes.get(interface)
        if before and before not in [number for number, _ in socket.if_nameindex()]:
            for address in self._addresses[interface]:
                libbpf.map_delete(slots, _key(before, address))
        for address in self._addresses[interface]:
            slot = struct.pack("=I", self._slots[interface, address])
            libbpf.map_store(slots, _key(index, address), slot)
        self._indexes[interface] = index


def _take_off(index: int) -> None:
    """Take our filters, whoever attached them, off one interface."""
    for handle in (_OVER_OUR_CLSACT, _OVER_FOREIGN_CLSACT):
        # A list, because both have to go.
        gone = [libbpf.detach(index, point, _PRIORITY, handle) for point in _PROGRAMS]
        if any(gone) and handle == _OVER_OUR_CLSACT and not _has_filters(index):
            libbpf.delete_clsact(index)


def _standing(index: int) -> dict[int, int]:
    """Return the program id of our filter at each point, 0 where there is none."""
    return {
        point: libbpf.attached(index, point, _PRIORITY, _OVER_OUR_CLSACT)
        or libbpf.attached(index, point, _PRIORITY, _OVER_FOREIGN_CLSACT)
        for point in _PROGRAMS
    }


def _has_ours(index: int) -> bool:
    """Return whether a dead agent's filter says that the clsact was made for it."""
    return any(libbpf.attached(index, point, _PRIORITY, _OVER_OUR_CLSACT) for point in _PROGRAMS)


def _key(index: int, address: IPAddress) -> bytes:
    """Return ``struct address`` of fence.bpf.c."""
    mapped = IPV4_MAPPED + address.packed if isinstance(address, IPv4Address) else address.packed
    return struct.pack("=I", index) + mapped


IPV4_MAPPED = bytes(10) + b"\xff\xff"
"""RFC 4291 2.5.5.2."""

_RTM_NEWTFILTER, _RTM_GETTFILTER = 44, 46
_NLM_F_REQUEST, _NLM_F_DUMP = 0x001, 0x300
_INGRESS_PARENT, _EGRESS_PARENT = 0xFFFF_FFF2, 0xFFFF_FFF3


def _has_filters(index: int) -> bool:
    """Return whether any filter hangs on the clsact of an interface."""
    return any(_lists_a_filter(index, parent) for parent in (_INGRESS_PARENT, _EGRESS_PARENT))


def _lists_a_filter(index: int, parent: int) -> bool:
    # struct nlmsghdr, then struct tcmsg: family, interface, handle, parent, info.
    header = (36, _RTM_GETTFILTER, _NLM_F_REQUEST | _NLM_F_DUMP, 0, 0)
    request = struct.pack("=IHHII Bxxx iIII", *header, socket.AF_UNSPEC, index, 0, parent, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as rtnetlink:
        rtnetlink.send(request)
        _, kind = struct.unpack_from("=IH", rtnetlink.recv(65536))
    return bool(kind == _RTM_NEWTFILTER)
