"""fence.bpf.c, one packet at a time: BPF_PROG_TEST_RUN in the namespace ``near``."""

import ctypes
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from haagent.adapters.fence import libbpf
from haagent.adapters.fence.bpf import OBJECT, BpfGuard
from haagent.core.settings import IPAddress
from haagent.core.units import MonoNs, milliseconds

VIP4, VIP6 = "10.77.0.100", "fd77::100"
OWN4, OWN6 = "10.77.0.1", "fd77::1"
FAR4, FAR6 = "10.77.0.2", "fd77::2"
VIPS: frozenset[IPAddress] = frozenset({ip_address(VIP4), ip_address(VIP6)})
PASS, DROP = 0xFFFF_FFFF, 2
"""TC_ACT_UNSPEC, TC_ACT_SHOT."""
ROOT = Path(__file__).parents[2]


def solicitation(target: str, to: str = "ff02::1:ff00:100") -> Packet:
    return IPv6(src=FAR6, dst=to, hlim=255) / ICMPv6ND_NS(tgt=target)


def advertisement(target: str, source: str = OWN6) -> Packet:
    return IPv6(src=source, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=target)


def behind(*headers: Packet) -> Packet:
    """Return a solicitation of VIP6 behind extension headers."""
    packet = IPv6(src=FAR6, dst="ff02::1:ff00:100", hlim=255)
    for header in headers:
        packet /= header
    return packet / ICMPv6ND_NS(tgt=VIP6)


INBOUND = {
    "arp request": ARP(op=1, psrc=FAR4, pdst=VIP4),
    "arp reply": ARP(op=2, psrc=FAR4, pdst=VIP4),
    "arp probe": ARP(op=1, psrc="0.0.0.0", pdst=VIP4),
    "ipv4": IP(src=FAR4, dst=VIP4) / ICMP(),
    "ipv4 with options": IP(src=FAR4, dst=VIP4, options=b"\x01" * 8) / UDP(),
    "ipv4 first fragment": IP(src=FAR4, dst=VIP4, flags="MF") / UDP() / Raw(bytes(64)),
    "ipv4 last fragment": IP(src=FAR4, dst=VIP4, frag=9) / Raw(bytes(64)),
    "ipv4 header alone": IP(src=FAR4, dst=VIP4),
    "ipv6": IPv6(src=FAR6, dst=VIP6) / ICMPv6EchoRequest(),
    "ipv6 fragment": IPv6(src=FAR6, dst=VIP6) / IPv6ExtHdrFragment(offset=9) / Raw(bytes(64)),
    "solicitation": solicitation(VIP6),
    "solicitation to the address": solicitation(VIP6, to=VIP6),
    "solicitation to another address": solicitation(VIP6, to=OWN6),
    "solicitation behind options": behind(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()),
    "solicitation behind routing": behind(IPv6ExtHdrRouting(addresses=[FAR6])),
    "solicitation in a first fragment": behind(IPv6ExtHdrFragment(offset=0, m=1)),
    "solicitation behind eight": behind(*[IPv6ExtHdrDestOpt()] * 8),
    "arp request in a vlan": Dot1Q(vlan=5) / ARP(op=1, psrc=FAR4, pdst=VIP4),
    "ipv4 in a vlan of a vlan": Dot1AD(vlan=7) / Dot1Q(vlan=5) / IP(src=FAR4, dst=VIP4) / UDP(),
    "solicitation with priority tag": Dot1Q(vlan=0) / solicitation(VIP6),
}
"""Frames that reach the address."""

OUTBOUND = {
    "arp request": ARP(op=1, psrc=VIP4, pdst=FAR4),
    "arp reply": ARP(op=2, psrc=VIP4, pdst=FAR4),
    "arp announcement": ARP(op=1, psrc=VIP4, pdst=VIP4),
    "ipv4": IP(src=VIP4, dst=FAR4) / ICMP(),
    "ipv4 last fragment": IP(src=VIP4, dst=FAR4, frag=9) / Raw(bytes(64)),
    "ipv6": IPv6(src=VIP6, dst=FAR6) / UDP(),
    "ipv6 fragment": IPv6(src=VIP6, dst=FAR6) / IPv6ExtHdrFragment(offset=9) / Raw(bytes(64)),
    "solicitation from the address": IPv6(src=VIP6, dst=FAR6) / ICMPv6ND_NS(tgt=FAR6),
    "advertisement": advertisement(VIP6, source=VIP6),
    "advertisement from another address": advertisement(VIP6),
    "arp reply in a vlan": Dot1Q(vlan=5) / ARP(op=2, psrc=VIP4, pdst=FAR4),
    "ipv6 in a vlan": Dot1Q(vlan=5) / IPv6(src=VIP6, dst=FAR6) / UDP(),
}
"""Frames that speak in the name of the address."""

FOREIGN_INBOUND = {
    "arp request for another": ARP(op=1, psrc=FAR4, pdst=OWN4),
    "arp request from the new holder": ARP(op=1, psrc=VIP4, pdst=OWN4),
    "arp announcement of the new holder": ARP(op=1, psrc=VIP4, pdst=VIP4),
    "arp reply of the new holder": ARP(op=2, psrc=VIP4, pdst=OWN4),
    "ipv4 for another": IP(src=FAR4, dst=OWN4) / UDP(),
    "ipv4 from the new holder": IP(src=VIP4, dst=OWN4) / UDP(),
    "ipv6 for another": IPv6(src=FAR6, dst=OWN6) / UDP(),
    "ipv6 from the new holder": IPv6(src=VIP6, dst=OWN6) / UDP(),
    "solicitation of another": solicitation(OWN6, to="ff02::1:ff00:1"),
    "advertisement of the new holder": advertisement(VIP6, source=VIP6),
    "later fragment that looks like a solicitation": behind(IPv6ExtHdrFragment(offset=9)),
    "echo with the address as data": IPv6(src=FAR6, dst=OWN6)
    / ICMPv6EchoRequest(data=ip_address(VIP6).packed),
    "ipv4 tunnelled": IP(src=FAR4, dst=OWN4) / IP(src=FAR4, dst=VIP4) / UDP(),
    "unknown type": Ether(type=0x88B5) / Raw(bytes(64)),
}
FOREIGN_OUTBOUND = {
    "arp request for the new holder": ARP(op=1, psrc=OWN4, pdst=VIP4),
    "arp probe": ARP(op=1, psrc="0.0.0.0", pdst=VIP4),
    "ipv4 to the new holder": IP(src=OWN4, dst=VIP4) / UDP(),
    "ipv6 to the new holder": IPv6(src=OWN6, dst=VIP6) / UDP(),
    "solicitation of the new holder": IPv6(src=OWN6, dst=VIP6) / ICMPv6ND_NS(tgt=VIP6),
    "advertisement of another": advertisement(OWN6),
}


class Program:
    """The guard of the address on ``eth0``, whose programs are run one packet at a time."""

    def __init__(self) -> None:
        self.guard = BpfGuard({"eth0": VIPS})
        self.guard.install()
        self._interface = self.guard._indexes["eth0"]

    def inbound(self, frame: bytes, interface: int | None = None) -> int:
        return self._run("haagent_ingress", frame, interface or self._interface)[0]

    def outbound(self, frame: bytes) -> int:
        return self._run("haagent_egress", frame, self._interface)[0]

    def open(self, by: int = milliseconds(60_000)) -> None:
        for address in VIPS:
            self.guard.open("eth0", address, MonoNs(boottime() + by))

    def _run(self, name: str, frame: bytes, interface: int) -> tuple[int, int]:
        program = self.guard._object.program(name)
        return self.guard._own.run(run_program, program, frame, interface)


class _Run(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_char_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration_ns", ctypes.c_uint32),
    )


def run_program(program: int, frame: bytes, interface: int, repeat: int = 1) -> tuple[int, int]:
    """Return what the program says of ``frame`` on ``interface``, and ns per run."""
    context = struct.pack("=40xI148x", interface)  # struct __sk_buff, all 0 but ifindex
    run = _Run(size=ctypes.sizeof(_Run), data_in=frame, data_size_in=len(frame), repeat=repeat)
    run.ctx_in, run.ctx_size_in = context, len(context)
    code = libbpf._library().bpf_prog_test_run_opts(program, ctypes.byref(run))
    assert code == 0, code
    return run.retval, run.duration_ns


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.fixture
def program(pair: object) -> Iterator[Program]:
    program = Program()
    yield program
    program.guard.let_go()


def ethernet(packet: Packet) -> bytes:
    if isinstance(packet, Ether):
        return bytes(packet)
    return bytes(Ether(src="2:0:0:0:0:2", dst="2:0:0:0:0:1") / packet)


@pytest.mark.parametrize("packet", INBOUND.values(), ids=INBOUND.keys())
def test_a_frame_for_the_address_passes_only_while_it_is_open(
    program: Program, packet: Packet
) -> None:
    frame = ethernet(packet)

    assert program.inbound(frame) == DROP
    program.open()
    assert program.inbound(frame) == PASS


@pytest.mark.parametrize("packet", OUTBOUND.values(), ids=OUTBOUND.keys())
def test_a_frame_in_its_name_leaves_only_while_it_is_open(program: Program, packet: Packet) -> None:
    frame = ethernet(packet)

    assert program.outbound(frame) == DROP
    program.open()
    assert program.outbound(frame) == PASS


@pytest.mark.parametrize("packet", FOREIGN_INBOUND.values(), ids=FOREIGN_INBOUND.keys())
def test_what_is_for_others_or_tells_of_the_new_holder_comes_in(
    program: Program, packet: Packet
) -> None:
    assert program.inbound(ethernet(packet)) == PASS


@pytest.mark.parametrize("packet", FOREIGN_OUTBOUND.values(), ids=FOREIGN_OUTBOUND.keys())
def test_what_is_from_others_or_asks_for_the_new_holder_goes_out(
    program: Program, packet: Packet
) -> None:
    assert program.outbound(ethernet(packet)) == PASS


@pytest.mark.parametrize("packets", [INBOUND, OUTBOUND], ids=["inbound", "outbound"])
def test_a_truncated_frame_is_judged_without_trouble_at_every_length(
    program: Program, packets: dict[str, Packet]
) -> None:
    """The kernel refuses what is too short to show an address; what shows it is dropped."""
    run = program.inbound if packets is INBOUND else program.outbound
    for packet in packets.values():
        whole = ethernet(packet)
        verdicts = [run(whole[:length]) for length in range(_least(packet), len(whole) + 1)]
        first = verdicts.index(DROP)
        assert set(verdicts[:first]) <= {PASS}
        assert set(verdicts[first:]) == {DROP}


def _least(packet: Packet) -> int:
    """Return the shortest frame that BPF_PROG_TEST_RUN takes: 14 bytes and a whole IP header."""
    return 14 + (20 if isinstance(packet, IP) else 40 if isinstance(packet, IPv6) else 1)


def test_an_address_closes_at_its_deadline(program: Program) -> None:
    frame = ethernet(INBOUND["arp request"])
    program.open(milliseconds(50))
    assert program.inbound(frame) == PASS

    deadline = boottime() + milliseconds(50)
    while boottime() < deadline:
        pass
    assert program.inbound(frame) == DROP


def test_a_deadline_that_is_over_opens_nothing(program: Program) -> None:
    program.open(by=-1)

    assert program.inbound(ethernet(INBOUND["ipv4"])) == DROP
    assert program.outbound(ethernet(OUTBOUND["ipv6"])) == DROP


def test_a_live_deadline_opens_nothing_without_the_agent(program: Program) -> None:
    program.open()
    alive = program.guard._object.map("alive")
    program.guard._own.run(libbpf.map_delete, alive, bytes(4))

    assert program.inbound(ethernet(INBOUND["arp request"])) == DROP
    assert program.outbound(ethernet(OUTBOUND["ipv4"])) == DROP


def test_each_address_has_its_own_deadline(program: Program) -> None:
    program.guard.open("eth0", ip_address(VIP6), MonoNs(boottime() + milliseconds(60_000)))

    assert program.inbound(ethernet(INBOUND["ipv6"])) == PASS
    assert program.inbound(ethernet(INBOUND["ipv4"])) == DROP


def test_a_solicitation_needs_both_its_destination_and_its_target_open(pair: object) -> None:
    other = ip_address("fd77::101")
    guard = BpfGuard({"eth0": frozenset({*VIPS, other})})
    guard.install()
    program, index = guard._object.program("haagent_ingress"), guard._indexes["eth0"]
    guard.open("eth0", other, MonoNs(boottime() + milliseconds(60_000)))

    for destination, target in ((str(other), VIP6), (VIP6, str(other))):
        frame = ethernet(solicitation(target, to=destination))
        assert guard._own.run(run_program, program, frame, index)[0] == DROP
    foreign = ethernet(solicitation(str(other), OWN6))
    assert guard._own.run(run_program, program, foreign, index)[0] == PASS
    guard.let_go()


def test_the_same_address_on_another_interface_is_not_guarded(program: Program) -> None:
    assert program.inbound(ethernet(INBOUND["ipv4"]), interface=1) == PASS


def test_the_shipped_object_is_what_the_source_says(tmp_path: Path) -> None:
    if not shutil.which("clang-14"):
        pytest.skip("needs clang-14, with which the object was made")
    made = tmp_path / "fence.bpf.o"

    subprocess.run(["make", "bpf", f"FENCE_OBJECT={made}"], cwd=ROOT, check=True)

    assert made.read_bytes() == OBJECT.read_bytes(), "run `make bpf`"
