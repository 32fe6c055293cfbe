"""haagent.adapters.fence with real packets: ``near`` has the guard, ``far`` asks.

An answer that must not come is not waited for: the question about a guarded address is
followed by the same question about an ordinary one, and ``near`` answers in order.
"""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from threading import Thread

import pytest
from pyroute2 import netns
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from haagent.adapters.fence import Fence, libbpf
from haagent.adapters.fence.bpf import BpfGuard
from haagent.adapters.fence.nft import NftGuard
from haagent.core.settings import FenceLevel, IPAddress
from haagent.core.units import MonoNs, milliseconds, seconds
from tests.adapters.conftest import Pair

VIP4, VIP6 = IPv4Address("10.77.0.100"), IPv6Address("fd77::100")
OWN4, OWN6 = IPv4Address("10.77.0.1"), IPv6Address("fd77::1")
FAR4, FAR6 = IPv4Address("10.77.0.2"), IPv6Address("fd77::2")
VIPS: frozenset[IPAddress] = frozenset({VIP4, VIP6})
ETH0 = {"eth0": VIPS}
PATIENCE_S = 5.0
ETH_P_ALL = 3
Guard = BpfGuard | NftGuard


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def soon(delay: int = seconds(60)) -> MonoNs:
    return MonoNs(boottime() + delay)


def wait_until(instant: int) -> None:
    while boottime() < instant:
        select.select([], [], [], 0.001)


@contextmanager
def inside(namespace: str, back: str) -> Iterator[None]:
    netns.setns(namespace)
    try:
        yield
    finally:
        netns.setns(back)


def on_the_wire(interface: str = "eth0") -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    opened.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    opened.bind((interface, ETH_P_ALL))
    return opened


class Far:
    """The neighbour: asks ``near`` by raw frames, and hears the answers."""

    def __init__(self, pair: Pair, interface: str = "eth0") -> None:
        with inside(pair.far, back=pair.near):
            self.wire = on_the_wire(interface)
        self.near_wire = on_the_wire(interface)
        self.mac = self.wire.getsockname()[4].hex(":")
        self.near_mac = self.near_wire.getsockname()[4].hex(":")
        for address in (FAR4, FAR6):
            neighbour = (str(address), "lladdr", self.mac, "dev", interface)
            pair.run_near("ip", "neigh", "replace", *neighbour, "nud", "permanent")

    def close(self) -> None:
        self.wire.close()
        self.near_wire.close()

    def send(self, packet: Packet) -> None:
        self.wire.send(bytes(Ether(src=self.mac, dst=self.near_mac) / packet))

    def send_from_near(self, packet: Packet) -> None:
        with suppress(OSError):  # ENOBUFS: dropped on the way out
            self.near_wire.send(bytes(Ether(src=self.near_mac, dst=self.mac) / packet))

    def who_spoke(self, last: IPAddress) -> set[IPAddress]:
        """Return which virtual addresses speak until ``last`` does."""
        spoken: set[IPAddress] = set()
        limit = time.monotonic() + PATIENCE_S
        while select.select([self.wire], [], [], max(0.0, limit - time.monotonic()))[0]:
            speaker = speaks_for(Ether(self.wire.recv(2048)))
            if speaker == last:
                return spoken
            if speaker in VIPS:
                spoken.add(speaker)
        pytest.fail(f"{last} does not answer")

    def answering(
        self, question: Callable[[IPAddress], Packet], *asked: IPAddress
    ) -> set[IPAddress]:
        """Ask about each address and then an ordinary one; return which of them answered."""
        ordinary: IPAddress = OWN6 if VIP6 in asked else OWN4
        for address in (*asked, ordinary):
            self.send(question(address))
        return self.who_spoke(last=ordinary)

    def answers(self) -> set[str]:
        """Return all questions that the virtual addresses answer."""
        return {
            name
            for name, (address, question) in QUESTIONS.items()
            if self.answering(question, address)
        }

    def hears_the_end(self) -> bool:
        """Wait until nothing answers; the kernel empties a program array a little later."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            if not self.answers():
                return True
        return False


def arp(address: IPAddress) -> Packet:
    return ARP(op=1, psrc=str(FAR4), pdst=str(address))


def solicitation(address: IPAddress) -> Packet:
    return IPv6(src=str(FAR6), dst=str(address), hlim=255) / ICMPv6ND_NS(tgt=str(address))


def ping(address: IPAddress) -> Packet:
    return IP(src=str(FAR4), dst=str(address)) / ICMP()


def ping6(address: IPAddress) -> Packet:
    return IPv6(src=str(FAR6), dst=str(address)) / ICMPv6EchoRequest()


QUESTIONS: dict[str, tuple[IPAddress, Callable[[IPAddress], Packet]]] = {
    "arp": (VIP4, arp),
    "ping": (VIP4, ping),
    "solicitation": (VIP6, solicitation),
    "ping6": (VIP6, ping6),
}
ALL = set(QUESTIONS)


def speaks_for(frame: Packet) -> IPAddress | None:
    """Return the address in whose name a frame was sent."""
    if ARP in frame:
        return ip_address(frame[ARP].psrc)
    if ICMPv6ND_NA in frame:
        return ip_address(frame[ICMPv6ND_NA].tgt)
    if ICMPv6EchoReply in frame or UDP in frame:
        return ip_address(frame[IPv6 if IPv6 in frame else IP].src)
    if ICMP in frame:
        return ip_address(frame[IP].src)
    return None


@pytest.fixture
def far(pair: Pair) -> Iterator[Far]:
    """``near`` holds the virtual addresses, guarded by nobody yet."""
    pair.run_near("ip", "addr", "add", f"{VIP4}/32", "dev", "eth0")
    pair.run_near("ip", "addr", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
    pair.until_answered(str(VIP6), at=pair.near)
    far = Far(pair)
    assert far.answers() == ALL
    yield far
    far.close()


@pytest.fixture(params=[BpfGuard, NftGuard])
def guard(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Guard]:
    kind: type[BpfGuard | NftGuard] = request.param
    guard = kind(ETH0)
    assert guard.install() == ["eth0"]
    yield guard
    guard.let_go()


def unanswered(far: Far, act: Callable[[], object]) -> list[int]:
    """Ping ``VIP4`` each millisecond while ``act`` is done; return the numbers of what is lost."""
    pings = [IP(src=FAR4, dst=VIP4) / ICMP(type="echo-request", seq=n) for n in range(200)]
    frames = [bytes(Ether(src=far.mac, dst=far.near_mac) / ping) for ping in pings]
    waiting = set(range(len(frames)))
    acting = Thread(target=act)
    for number, frame in enumerate(frames):
        far.wire.send(frame)
        if number == len(frames) // 4:
            acting.start()
        select.select([], [], [], 0.001)
    acting.join()
    while waiting and select.select([far.wire], [], [], 0.2)[0]:
        answer = Ether(far.wire.recv(2048))
        if ICMP in answer and answer[IP].src == str(VIP4):
            waiting.discard(answer[ICMP].seq)
    return sorted(waiting)


IN_FLIGHT = {BpfGuard: 0, NftGuard: 1}
"""How many packets may be lost on their way through rules that are being replaced."""


def open_all(guard: Guard | Fence, until: MonoNs) -> None:
    for address in VIPS:
        guard.open("eth0", address, until)


def test_an_address_is_silent_until_it_is_opened_and_again_when_closed(
    far: Far, guard: Guard
) -> None:
    assert far.answers() == set()
    open_all(guard, soon())
    assert far.answers() == ALL
    for address in VIPS:
        guard.close("eth0", address)
    assert far.answers() == set()


def test_an_address_falls_silent_at_its_deadline_and_not_before(far: Far, guard: Guard) -> None:
    open_all(guard, soon())
    assert far.answers() == ALL

    deadline = soon(milliseconds(300))
    open_all(guard, deadline)
    assert far.answering(arp, VIP4) == {VIP4} or boottime() >= deadline
    wait_until(deadline + milliseconds(10))  # nftables counts in ticks of the timer
    assert far.answers() == set()


def test_a_deadline_in_the_past_closes(far: Far, guard: Guard) -> None:
    open_all(guard, soon())
    open_all(guard, soon(-1))

    assert far.answers() == set()


def test_renewing_keeps_an_address_open_beyond_the_first_deadline(far: Far, guard: Guard) -> None:
    first = soon(milliseconds(200))
    open_all(guard, first)
    beyond = 0
    while beyond < 200:
        until = soon(milliseconds(200))
        open_all(guard, until)
        is_open = far.answering(arp, VIP4) == {VIP4}
        assert is_open or boottime() >= until
        beyond += is_open and boottime() > first


def test_each_address_is_opened_alone(far: Far, guard: Guard) -> None:
    guard.open("eth0", VIP6, soon())

    assert far.answers() == {"solicitation", "ping6"}


def test_nothing_leaves_in_the_name_of_a_closed_address(far: Far, guard: Guard) -> None:
    """Whoever sends it: the kernel, a raw socket, a server that still runs."""
    to4, to6 = str(FAR4), str(FAR6)
    spoken: list[Callable[[IPAddress], Packet]] = [
        lambda a: ARP(op=1, psrc=str(a), pdst=str(a)),
        lambda a: ARP(op=2, psrc=str(a), pdst=to4),
        lambda a: IP(src=str(a), dst=to4) / UDP(),
        lambda a: Dot1Q(vlan=0) / ARP(op=2, psrc=str(a), pdst=to4),
    ]
    spoken6: list[Callable[[IPAddress], Packet]] = [
        lambda a: IPv6(src=str(a), dst=to6) / UDP(),
        lambda a: IPv6(src=str(OWN6), dst=to6, hlim=255) / ICMPv6ND_NA(tgt=str(a)),
        lambda a: IPv6(src=str(a), dst=to6, hlim=255) / ICMPv6ND_NA(tgt=str(a)),
    ]

    def heard() -> list[set[IPAddress]]:
        found = []
        for vip, own, packets in ((VIP4, OWN4, spoken), (VIP6, OWN6, spoken6)):
            for packet in packets:
                far.send_from_near(packet(vip))
                far.send_from_near(packet(own))
                found.append(far.who_spoke(last=own))
        return found

    if isinstance(guard, NftGuard):
        del spoken[-1]  # a tag inside the frame is seen by BPF alone
    assert heard() == [set()] * len([*spoken, *spoken6])
    open_all(guard, soon())
    assert heard() == [{VIP4}] * len(spoken) + [{VIP6}] * len(spoken6)


def test_a_question_with_a_priority_tag_is_answered_only_while_open(far: Far, guard: Guard) -> None:
    """The kernel takes the tag off the frame and keeps it beside it."""

    def tagged(address: IPAddress) -> Packet:
        return Dot1Q(vlan=0, prio=5) / arp(address)

    assert far.answering(tagged, VIP4) == set()
    open_all(guard, soon())
    assert far.answering(tagged, VIP4) == {VIP4}


def test_this_host_learns_from_an_announcement_where_the_address_is_now(
    pair: Pair, far: Far, guard: Guard
) -> None:
    pair.run_near("ip", "addr", "del", f"{VIP4}/32", "dev", "eth0")
    # Otherwise an entry is kept for a second after every change.
    pair.run_near("sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0")
    before = ("ip", "neigh", "replace", str(VIP4), "lladdr", "02:00:00:00:00:99", "dev", "eth0")
    pair.run_near(*before, "nud", "stale")

    far.send(ARP(op=1, hwsrc=far.mac, psrc=str(VIP4), pdst=str(VIP4)))

    assert far.answering(arp) == set()
    assert far.mac in pair.run_near("ip", "neigh", "show", str(VIP4))


def test_installing_again_changes_nothing_for_an_open_address(far: Far, guard: Guard) -> None:
    open_all(guard, soon())

    assert guard.install() == []
    assert far.answers() == ALL


@pytest.mark.parametrize("kind", [BpfGuard, NftGuard])
def test_an_address_that_is_opened_before_the_guard_stands_is_never_silent(
    pair: Pair, far: Far, kind: type[Guard]
) -> None:
    # The kernel sends nothing while it puts a new one on an interface, whatever hangs on it.
    pair.run_near("tc", "qdisc", "add", "dev", "eth0", "clsact")
    guard = kind(ETH0)
    guard.open("eth0", VIP4, soon())

    assert len(unanswered(far, guard.install)) <= IN_FLIGHT[kind]
    assert far.answers() == {"arp", "ping"}
    guard.let_go()


@pytest.mark.parametrize("kind", [BpfGuard, NftGuard])
def test_a_deadline_that_passes_before_the_guard_stands_opens_nothing(
    far: Far, kind: type[Guard]
) -> None:
    guard = kind(ETH0)
    guard.open("eth0", VIP4, soon(0))

    guard.install()
    assert far.answers() == set()
    guard.let_go()


@pytest.fixture(params=[BpfGuard, NftGuard])
def guards(request: pytest.FixtureRequest) -> Iterator[list[Guard]]:
    """The guards that stood one after the other; the last one is let go."""
    guards: list[Guard] = [request.param(ETH0)]
    guards[0].install()
    open_all(guards[0], soon())
    yield guards
    guards[-1].let_go()


def test_changing_the_addresses_touches_none_that_stays(far: Far, guards: list[Guard]) -> None:
    only_ipv4: dict[str, frozenset[IPAddress]] = {"eth0": frozenset({VIP4})}

    lost = unanswered(far, lambda: guards.append(guards[-1].changed(only_ipv4)))
    assert len(lost) <= IN_FLIGHT[type(guards[-1])]
    assert far.answers() == ALL  # IPv6 is nobody's affair any more
    lost = unanswered(far, lambda: guards.append(guards[-1].changed(ETH0)))
    assert len(lost) <= IN_FLIGHT[type(guards[-1])]
    assert far.answers() == {"arp", "ping"}
    open_all(guards[-1], soon())
    assert far.answers() == ALL
    assert guards[-1].install() == []


def test_a_guard_that_moves_leaves_no_trace_where_it_was(
    pair: Pair, far: Far, guards: list[Guard]
) -> None:
    pair.run_near("ip", "link", "add", "eth1", "type", "veth", "peer", "eth1", "netns", pair.far)

    guards.append(guards[0].changed({"eth1": VIPS}))

    assert "haagent" not in pair.run_near("tc", "filter", "show", "dev", "eth0", "egress")
    assert "clsact" not in pair.run_near("tc", "qdisc", "show", "dev", "eth0")
    assert '"eth0"' not in pair.run_near("nft", "list", "ruleset")
    assert far.answers() == ALL


def test_a_change_that_cannot_be_had_changes_nothing(
    pair: Pair, far: Far, guards: list[Guard]
) -> None:
    pair.run_near("ip", "tuntap", "add", "tun0", "mode", "tun")

    with pytest.raises(OSError, match="not an Ethernet interface"):
        guards[0].changed({"eth0": VIPS - {VIP4}, "tun0": VIPS})

    assert far.answers() == ALL
    guards[0].close("eth0", VIP4)
    assert far.answers() == {"solicitation", "ping6"}
    assert guards[0].install() == []


@pytest.mark.parametrize("kind", [BpfGuard, NftGuard])
def test_an_address_on_two_interfaces_is_opened_on_one(
    pair: Pair, far: Far, kind: type[Guard]
) -> None:
    pair.run_near("ip", "link", "add", "eth1", "type", "veth", "peer", "eth1", "netns", pair.far)
    pair.run_near("ip", "link", "set", "eth1", "up")
    pair.run_far("ip", "link", "set", "eth1", "up")
    pair.until_up("eth1")
    second = Far(pair, "eth1")
    Far(pair).close()  # the neighbours are on eth0 again
    both = kind({"eth0": VIPS, "eth1": VIPS})
    both.install()

    both.open("eth0", VIP4, soon())
    assert far.answering(arp, VIP4) == {VIP4}
    assert second.answering(arp, VIP4) == set()
    both.open("eth1", VIP4, soon())
    both.close("eth0", VIP4)
    assert far.answering(arp, VIP4) == set()
    assert second.answering(arp, VIP4) == {VIP4}
    second.close()
    both.let_go()


def test_an_interface_that_comes_later_or_again_is_guarded(pair: Pair, guard: Guard) -> None:
    pair.run_near("ip", "link", "del", "eth0")
    assert guard.install() == []

    pair.run_near("ip", "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", pair.far)
    assert guard.install() == ["eth0"]

    address = ("addr", "add", f"{OWN4}/24", "dev", "eth0")
    for run, command in ((pair.run_near, address), (pair.run_near, ("link", "set", "eth0", "up"))):
        run("ip", *command)
    pair.run_far("ip", "link", "set", "eth0", "up")
    pair.until_up()
    pair.run_near("ip", "addr", "add", f"{VIP4}/32", "dev", "eth0")
    far = Far(pair)
    assert far.answering(arp, VIP4) == set()
    guard.open("eth0", VIP4, soon())
    assert far.answering(arp, VIP4) == {VIP4}
    far.close()


@pytest.mark.parametrize("kind", [BpfGuard, NftGuard])
def test_another_interface_under_the_same_name_is_guarded_anew(
    pair: Pair, kind: type[Guard]
) -> None:
    pair.run_near("ip", "link", "add", "eth1", "type", "veth", "peer", "eth1", "netns", pair.far)
    guard = kind({"eth0": VIPS, "eth1": frozenset()})
    assert guard.install() == ["eth0", "eth1"]

    pair.run_near("ip", "link", "set", "eth0", "down")
    pair.run_near("ip", "link", "set", "eth0", "name", "old")
    pair.run_near("ip", "link", "set", "eth1", "name", "eth0")

    assert guard.install() == ["eth0"]
    assert guard.install() == []
    guard.let_go()


def test_opening_and_closing_where_no_interface_is_does_no_harm(pair: Pair, guard: Guard) -> None:
    pair.run_near("ip", "link", "del", "eth0")

    guard.open("eth0", VIP4, soon())
    guard.close("eth0", VIP4)


def mended(act: Callable[[], object]) -> list[str]:
    """Run a Fence with everything open, ``act``, and return what is reported of it."""

    async def scene() -> list[str]:
        reports: asyncio.Queue[str] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(fence.run(reports.put_nowait))
            act()
            async with asyncio.timeout(PATIENCE_S):
                said = [await reports.get()]
            running.cancel()
        return said

    fence = Fence(ETH0)
    fence.install()
    open_all(fence, soon())
    try:
        return asyncio.run(scene())
    finally:
        fence._guard.let_go()


def test_a_removed_queueing_discipline_is_put_back_and_reported(pair: Pair, far: Far) -> None:
    def remove() -> None:
        pair.run_near("tc", "qdisc", "del", "dev", "eth0", "clsact")

    assert mended(remove) == ["fence put back on eth0"]
    assert far.answers() == set()  # the agent of the scene is gone


def test_a_removed_filter_is_put_back_and_reported(pair: Pair, far: Far) -> None:
    def remove() -> None:
        pair.run_near("tc", "filter", "del", "dev", "eth0", "egress")

    assert mended(remove) == ["fence put back on eth0"]
    assert "haagent_egress" in pair.run_near("tc", "filter", "show", "dev", "eth0", "egress")


def test_flushing_nftables_does_not_touch_level_bpf(pair: Pair, far: Far) -> None:
    guard = BpfGuard(ETH0)
    guard.install()
    pair.run_near("nft", "flush", "ruleset")

    assert guard.install() == []
    assert far.answers() == set()
    guard.let_go()


def test_flushing_nftables_is_mended_at_level_nft_and_opens_what_was_open(
    pair: Pair, far: Far
) -> None:
    guard = NftGuard(ETH0)
    guard.install()
    guard.open("eth0", VIP4, soon())
    pair.run_near("nft", "flush", "ruleset")

    assert guard.install() == ["eth0"]
    assert far.answers() == {"arp", "ping"}
    guard.let_go()
    assert far.answers() == set()


def test_renewing_at_level_nft_notices_that_the_guard_is_gone(pair: Pair, far: Far) -> None:
    guard = NftGuard(ETH0)
    guard.install()
    guard.open("eth0", VIP4, soon())
    pair.run_near("nft", "flush", "ruleset")

    guard.open("eth0", VIP4, soon())
    assert far.answers() == {"arp", "ping"}
    assert [guard.install(), guard.install()] == [["eth0"], []]
    guard.let_go()


def test_a_late_renewal_at_level_nft_replaces_no_rules(pair: Pair) -> None:
    """Between the old rules and the first renewal of the new ones nothing would pass."""

    def table() -> str:
        """Its name and its handle, of which a new table has a new one."""
        return pair.run_near("nft", "-a", "list", "table", "netdev", "haagent").splitlines()[0]

    lease_ms = 600
    guard = NftGuard(ETH0)
    guard.install()
    guard.open("eth0", VIP4, soon(milliseconds(lease_ms)))
    before = table()

    for late_ms in range(0, lease_ms // 2 - 20, 5):
        guard.open("eth0", VIP4, soon(milliseconds(lease_ms - late_ms)))

    assert "handle" in before
    assert table() == before
    guard.let_go()


WITHOUT_BPF = ("setpriv", "--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin")
"""Root as a container or an old unit file lets it be: this makes level nft the best."""

NEITHER = tuple(word.replace("-bpf", "-bpf,-net_raw") for word in WITHOUT_BPF)

HOLDER = f"""
import contextlib, socket, subprocess, sys
from ipaddress import ip_address
from haagent.adapters.fence import Fence, libbpf
from haagent.core.settings import FenceLevel
vips = frozenset(map(ip_address, {[str(vip) for vip in VIPS]}))
fence = Fence({{"eth0": vips}})
fence.install()
with contextlib.suppress(PermissionError):  # as the agent has; slow to be released at its death
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    listening.bind(("eth0", 3))
print(fence.level.value, "|".join(fence.refused), flush=True)
for line in sys.stdin:
    match line.split():
        case ["remove"]:
            fence.remove()
        case ["child"]:
            print(subprocess.Popen(["sleep", "600"], close_fds=False).pid, flush=True)
            continue
        case [until]:
            for vip in vips:
                fence.open("eth0", vip, int(until))
    print("done", flush=True)
"""


class Holder:
    """A process that holds a Fence and does what it is told."""

    def __init__(self, *prefix: str) -> None:
        command = [*prefix, sys.executable, "-c", HOLDER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        level, _, self.refused = self._hear().partition(" ")
        self.level = FenceLevel(level)

    def do(self, what: object) -> str:
        self.post(what)
        return self._hear()

    def post(self, what: object) -> None:
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        heard: str = self.process.stdout.readline().strip()
        return heard

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=[(), WITHOUT_BPF], ids=["bpf", "nft"])
def holder(request: pytest.FixtureRequest, far: Far) -> Iterator[Holder]:
    holder = Holder(*request.param)
    yield holder
    holder.kill()


def last_answer(far: Far, act: Callable[[], object]) -> float:
    """Ask each millisecond, ``act``, and return ms from then to the last answer of VIP4."""
    question = bytes(Ether(src=far.mac, dst=far.near_mac) / arp(VIP4))
    acted = last = 0.0
    start = time.monotonic()
    while not acted or time.monotonic() < min(last + 0.2, acted + 5):
        far.wire.send(question)
        if not acted and time.monotonic() > start + 0.05:
            acted = last = time.monotonic()
            act()
        select.select([far.wire], [], [], 0.001)
        with suppress(BlockingIOError):
            while frame := far.wire.recv(2048):
                if frame[12:14] == b"\x08\x06" and frame[28:32] == VIP4.packed:
                    last = time.monotonic()
    return (last - acted) * 1000


def test_a_killed_holder_is_silent_at_once_whatever_its_deadline(
    far: Far, holder: Holder, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.do(soon())

    silence_ms = last_answer(far, holder.process.kill)

    with capsys.disabled():
        print(f" [{holder.level.value}: last answer {silence_ms:.1f} ms after SIGKILL]", end="")
    assert silence_ms < 2000  # A busy machine takes its time to end a process; a lease is 60 s.
    assert far.answers() == set()


def test_what_keeps_an_address_open_is_in_the_table_of_one_thread_alone(
    far: Far, holder: Holder
) -> None:
    """The process's own table goes only after its memory, with the last of its threads."""
    tasks = Path(f"/proc/{holder.process.pid}/task").iterdir()
    tables = {
        int(task.name): {each.readlink() for each in (task / "fd").iterdir() if int(each.name) > 2}
        for task in tasks
    }

    common = tables.pop(holder.process.pid)
    (own,) = tables.values()
    assert own
    assert not own & common


def test_a_child_does_not_keep_a_dead_holders_address_open(far: Far, holder: Holder) -> None:
    """Not even one that was started with every inheritable descriptor."""
    holder.do(soon())
    child = int(holder.do("child"))
    try:
        assert last_answer(far, holder.process.kill) < 2000
        assert far.answers() == set()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_stopped_holder_is_silent_from_its_deadline_on_and_after_it_wakes(
    far: Far, holder: Holder
) -> None:
    deadline = soon(milliseconds(300))
    holder.do(deadline)
    assert far.answers() == ALL or boottime() > deadline
    holder.process.send_signal(signal.SIGSTOP)
    wait_until(deadline + milliseconds(10))
    assert far.answers() == set()

    holder.post(deadline)  # renewed on what was known before the sleep
    holder.process.send_signal(signal.SIGCONT)
    assert holder._hear() == "done"
    assert far.answers() == set()
    holder.do(soon())
    assert far.answers() == ALL


@pytest.mark.parametrize("first", [(), WITHOUT_BPF], ids=["from bpf", "from nft"])
@pytest.mark.parametrize("second", [(), WITHOUT_BPF], ids=["to bpf", "to nft"])
def test_a_dead_agents_guard_is_taken_over_without_a_gap(
    far: Far, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    dead = Holder(*first)
    dead.do(soon())
    dead.kill()
    assert far.hears_the_end()
    taking_over: list[Holder] = []

    assert last_answer(far, lambda: taking_over.append(Holder(*second))) == 0.0
    assert far.answers() == set()
    taking_over[0].do(soon())
    assert far.answers() == ALL
    taking_over[0].kill()
    assert far.hears_the_end()


def traces(pair: Pair) -> str:
    shown = (
        ("tc", "qdisc", "show", "dev", "eth0"),
        ("tc", "filter", "show", "dev", "eth0", "ingress"),
        ("tc", "filter", "show", "dev", "eth0", "egress"),
        ("nft", "list", "ruleset"),
    )
    return "".join(pair.run_near(*command) for command in shown)


def test_remove_leaves_nothing_and_lets_the_address_speak(
    pair: Pair, far: Far, holder: Holder
) -> None:
    before = traces(pair)
    assert "haagent" in before

    holder.do("remove")

    assert "haagent" not in traces(pair)
    assert "clsact" not in traces(pair)
    assert far.answers() == ALL


def test_remove_cleans_up_after_a_dead_agent(pair: Pair, far: Far, holder: Holder) -> None:
    holder.kill()
    assert far.hears_the_end()

    Fence(ETH0).remove()

    assert "haagent" not in traces(pair)
    assert far.answers() == ALL


def test_remove_takes_away_what_a_dead_agent_made_and_another_took_over(
    pair: Pair, far: Far
) -> None:
    dead = Holder()
    dead.kill()
    fence = Fence(ETH0)
    fence.install()

    fence.remove()

    assert "clsact" not in traces(pair)


def test_remove_leaves_what_others_have_on_the_interface(pair: Pair, far: Far) -> None:
    pair.run_near("tc", "qdisc", "add", "dev", "eth0", "clsact")
    pair.run_near("nft", "add", "table", "netdev", "theirs")
    before = traces(pair)
    fence = Fence(ETH0)
    fence.install()

    fence.remove()
    assert traces(pair) == before


def test_remove_leaves_our_queueing_discipline_to_others_who_use_it(pair: Pair, far: Far) -> None:
    fence = Fence(ETH0)
    fence.install()
    other = BpfGuard({})
    index = socket.if_nametoindex("eth0")
    program = other._object.program("haagent_open")
    other._own.run(libbpf.attach, index, libbpf.EGRESS, program, 7, 1)

    fence.remove()

    assert "pref 7" in traces(pair)
    assert "pref 1 " not in traces(pair)
    other.let_go()


def test_an_ingress_qdisc_in_the_place_of_clsact_makes_the_next_level_do(
    pair: Pair, far: Far
) -> None:
    pair.run_near("tc", "qdisc", "add", "dev", "eth0", "ingress")
    fence = Fence(ETH0)
    fence.install()

    assert fence.level is FenceLevel.NFT
    assert len(fence.refused) == 1
    assert far.answers() == set()
    fence.remove()


def test_without_the_capabilities_the_next_level_is_taken_and_said(far: Far) -> None:
    only_nft, neither = Holder(*WITHOUT_BPF), Holder(*NEITHER)

    assert only_nft.level is FenceLevel.NFT
    assert only_nft.refused == (
        "fence level bpf cannot be had: Operation not permitted (needs CAP_BPF and CAP_NET_ADMIN)"
    )
    assert neither.level is FenceLevel.LIFETIME
    assert "fence level nft cannot be had: Operation not permitted" in neither.refused
    only_nft.kill()
    neither.kill()


@pytest.mark.parametrize(
    ("capabilities", "level"),
    [
        ("+bpf,+net_admin", FenceLevel.BPF),
        ("+net_admin,+net_raw", FenceLevel.NFT),
        ("+net_admin", FenceLevel.LIFETIME),
    ],
)
def test_two_capabilities_are_enough_and_it_takes_both(
    far: Far, capabilities: str, level: FenceLevel
) -> None:
    kinds = ("--inh-caps", "--ambient-caps", "--bounding-set")
    held = [f"{kind}=-all,{capabilities}" for kind in kinds]
    holder = Holder("setpriv", "--securebits=+noroot", *held)

    assert holder.level is level, holder.refused
    if level is not FenceLevel.LIFETIME:
        assert far.answers() == set()
        holder.do(soon())
        assert far.answers() == ALL
    holder.kill()


def test_a_required_level_that_cannot_be_had_is_an_error(pair: Pair) -> None:
    pair.run_near("tc", "qdisc", "add", "dev", "eth0", "ingress")
    fence = Fence(ETH0, require=FenceLevel.BPF)

    with pytest.raises(OSError, match="fence level bpf cannot be had"):
        fence.install()


def test_a_required_level_is_met_by_a_better_one(pair: Pair) -> None:
    fence = Fence(ETH0, require=FenceLevel.NFT)

    assert (fence.level, fence.refused) == (FenceLevel.BPF, ())
    fence.remove()


def test_an_interface_without_ethernet_frames_leaves_the_lifetime(pair: Pair) -> None:
    pair.run_near("ip", "tuntap", "add", "tun0", "mode", "tun")
    fence = Fence({"tun0": VIPS})
    fence.install()

    assert fence.level is FenceLevel.LIFETIME
    assert "tun0 is not an Ethernet interface" in fence.refused[0]


def test_what_was_opened_is_told_until_its_lease_ends_or_it_is_closed(pair: Pair) -> None:
    fence = Fence(ETH0)
    fence.install()
    now = soon(0)
    fence.open("eth0", VIP4, MonoNs(now + seconds(1)))
    fence.open("eth0", VIP6, MonoNs(now + seconds(2)))

    assert fence.opened(now) == {("eth0", VIP4), ("eth0", VIP6)}
    assert fence.opened(MonoNs(now + seconds(1))) == {("eth0", VIP6)}
    fence.close("eth0", VIP6)
    assert fence.opened(now) == {("eth0", VIP4)}
    fence.remove()
