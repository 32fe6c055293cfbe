"""One machine: a kernel that holds addresses, and an agent process that comes and goes.

The process is a loop with two queues, like the real driver: events wait for a step, the
actions of a step are performed in order before the next one.  While the process is paused
or dead the kernel goes on: addresses stay, datagrams queue up or are lost, and whoever asks
whether this host is there gets an answer.  But a virtual address is answered for only behind
an open fence, which the kernel closes when its time is over, and at the death of the process.

What this module does not do: decide when faults happen (``haagent.sim.swarm``), or judge
what the agent does (``haagent.sim.checks``).
"""

from collections import deque
from collections.abc import Callable, Collection
from hashlib import sha256
from ipaddress import IPv4Address
from random import Random

from haagent.core.actions import (
    Action,
    AnnounceAddress,
    AskAddress,
    AskHost,
    ClaimAddress,
    CloseFence,
    Finished,
    OpenFence,
    Record,
    ReleaseAddress,
    ReserveTerm,
    RunHook,
    SendDatagram,
    Tenure,
    WatchChecks,
    WatchProcesses,
)
from haagent.core.agent import Agent
from haagent.core.events import (
    ActionDone,
    ActionFailed,
    CheckReported,
    DatagramReceived,
    Event,
    ForeignAddressSeen,
    HookEnded,
    HostAnswered,
    LinkChanged,
    PathChanged,
    ProcessEnded,
    RestartRequested,
    SettingsChanged,
    StopRequested,
    Tick,
)
from haagent.core.identity import GroupId, Term, boot_id
from haagent.core.messages import Datagram, Discard, Heartbeat
from haagent.core.settings import AgentSettings, IPAddress, IPInterface
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, later, seconds
from haagent.sim.checks import Safety
from haagent.sim.network import (
    Answered,
    Asked,
    Claimed,
    Corrupted,
    Network,
    Payload,
    Port,
    Refusal,
)
from haagent.sim.schedule import Schedule
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import HOP_LIMIT, decode, encode

KERNEL_CALL = DurationNs(100_000)
"""What a netlink request takes, as measured on the real adapter: 0.1 ms."""

BACKLOG = 256
"""Frames that wait for a machine that is suspended; what comes after them is lost."""

EPOCH = WallNs(1_700_000_000 * seconds(1))
ENOSPC, EPERM = 28, 1


def address_on(interface: str, index: int) -> IPv4Address:
    """Return the own address of the host ``index`` on the segment of that name."""
    segment = int.from_bytes(sha256(interface.encode()).digest()[:1], "big")
    return IPv4Address(f"10.0.{segment}.{index + 1}")


class Host:
    """See the module docstring."""

    def __init__(
        self,
        *,
        index: int,
        label: str,
        settings: AgentSettings,
        schedule: Schedule,
        network: Network,
        safety: Safety,
        note: Callable[..., None],
        random: Random,
        codec: bool,
        closes_at_death: bool,
    ) -> None:
        self.index = index
        self.label = label
        self.mac = f"02:00:00:00:00:{index + 1:02x}"
        self.settings = settings
        self._schedule = schedule
        self._network = network
        self._safety = safety
        self._tell = note
        self._closes_at_death = closes_at_death
        self._random = random
        self._keyring = (
            Keyring(bytes(32), settings.cluster, [group.name for group in settings.groups])
            if codec
            else None
        )
        self._paths = {path.interface: n for n, path in enumerate(settings.heartbeat.paths)}
        self._ports = {name: self._plug_in(name) for name in sorted(self._interfaces())}
        for path in settings.heartbeat.paths:
            if path.reference is not None:
                network.route(path.interface, path.reference)
        self._mono_base = MonoNs(random.randrange(seconds(1_000_000)))
        self._mono_since = schedule.now
        self._drift_ppm = 0
        self.wall_error = DurationNs(0)
        """How far the wall clock is off; agents must not care."""
        self.addresses: dict[IPAddress, GroupId] = {}
        """What is on the interfaces now."""
        self._fences: dict[IPAddress, MonoNs] = {}
        """Until when each fence is open, on the clock of this host."""
        self.terms: dict[GroupId, Term] = {}
        """What is on the disk."""
        self._kept: tuple[Tenure, ...] = ()
        """What an agent that restarts has left to the next one."""
        self._watched: frozenset[tuple[int, IPAddress]] = frozenset()
        """The agents that this one is connected to."""
        self._boots = 0
        self.refuses_claims = self.disk_full = False
        self.slowness = DurationNs(0)
        """How long every step takes."""
        self.agent: Agent | None = None
        self.paused = self.stopping = self.powered = self.suspended = False
        self._backlog: deque[tuple[Port, Port, Payload]] = deque()
        """Frames that came while the machine was suspended."""
        self._left: dict[GroupId, bool] = {}
        """Whether what the last step said of each group has left on some path."""
        self._events: deque[Event] = deque()
        self._actions: deque[Action] = deque()
        self._busy_until = self._wake_due = MonoNs(0)
        self._ticks_in_place = 0

    # Faults, and their ends.

    def start(self) -> None:
        """Start the agent, as the service manager does: first release what is left over."""
        if self.agent is not None:
            return
        kept, self._kept = [t for t in self._kept if self.mono < t.until], ()
        self._clear({tenure.group for tenure in kept})
        self._boots += 1
        boot = boot_id(self._boots, self._random.getrandbits(32))
        self._note(f"starts, boot {self._boots}")
        self._safety.started(self.label)
        self._busy_until = self._schedule.now
        self.paused, self.powered = self.suspended, True
        chance = Random(self._random.getrandbits(64))  # noqa: S311  # repeatable, not secret
        self.agent = Agent(self.settings, boot, dict(self.terms), chance, kept)
        for port in self._ports.values():
            self._tell_link(port)

    def kill(self) -> None:
        """SIGKILL: the process ends in the middle of whatever it did; its addresses stay."""
        self._note("is killed")
        self._end()
        if self._closes_at_death:
            self._close_all()
            if not self.suspended:
                for port in self._ports.values():
                    self._network.refuse(port)

    def power_off(self, *, forget: bool = False) -> None:
        """The machine dies, and its disk with it when ``forget``."""
        self._note("loses power" + (" and its disk" if forget else ""))
        self._end()
        self._clear()
        self._kept, self.powered, self.suspended = (), False, False
        self._backlog.clear()
        if forget:
            self.terms.clear()
            self._boots = 0
            self._safety.forgotten(self.label)

    def pause(self) -> None:
        """SIGSTOP: addresses stay, fences stay open for a while, events queue up."""
        self._note("is paused")
        self.paused = True

    def suspend(self) -> None:
        """The machine stands still, its kernel too, but not its clocks, as under a hypervisor."""
        if self.powered:
            self._note("is suspended")
            self.paused = self.suspended = True
            self._judge_all()

    def resume(self) -> None:
        """SIGCONT, or the machine goes on: with all frames that its switch has kept for it."""
        if self.suspended:
            self.suspended = False
            self._judge_all()
            waiting, self._backlog = self._backlog, deque()
            for port, sender, payload in waiting:
                self._receive(port, sender, payload)
        if self.paused:
            self._note("is resumed")
            self.paused = False
            self._turn()

    def drift(self, ppm: int) -> None:
        """Have the clock that timers run on gain ``ppm`` microseconds each second."""
        self._mono_base, self._mono_since = self.mono, self._schedule.now
        self._drift_ppm = ppm
        self._wake_due = MonoNs(0)
        self._judge_all()
        self._turn()

    def stop(self) -> None:
        """SIGTERM."""
        self._note("is told to stop")
        self.stopping = self.agent is not None
        self._post(StopRequested())

    def restart(self) -> None:
        """SIGUSR1 and SIGTERM: what can be is left to the next process."""
        self._note("is told to restart")
        self.stopping = self.agent is not None
        self._post(RestartRequested())

    def reload(self, settings: AgentSettings) -> None:
        """The agent takes in another configuration, on the interfaces that are there."""
        self._note("takes in another configuration")
        self.settings = settings
        if self._keyring is not None:
            names = [group.name for group in settings.groups]
            self._keyring = Keyring(bytes(32), settings.cluster, names)
        self._post(SettingsChanged(settings))

    def set_link(self, interface: str, *, up: bool) -> None:
        """Lose or regain the carrier of ``interface``."""
        port = self._ports[interface]
        if port.up is not up:
            self._note(f"{interface} goes {'up' if up else 'down'}")
            port.up = up
            self._tell_link(port)

    def answers(self, address: IPAddress) -> bool:
        """Return whether this host answers for ``address`` now, when asked on its wire."""
        return (
            address in self.addresses
            and self._fences.get(address, 0) > self.mono
            and not self.suspended
        )

    def _interfaces(self) -> set[str]:
        return {*self._paths, *(group.interface for group in self.settings.groups)}

    def _plug_in(self, interface: str) -> Port:
        port = Port(self.index, interface, address_on(interface, self.index), self._receive)
        self._network.attach(port)
        return port

    def _tell_link(self, port: Port) -> None:
        path = self._paths.get(port.interface)
        if path is not None:
            trouble = "" if port.up else f"{port.interface} has no carrier"
            self._post(PathChanged(path, trouble, carries=port.up))
        self._post(LinkChanged(port.interface, port.up))

    def _note(self, text: str, *args: object) -> None:
        self._tell(self.label, text, *args)

    def _detail(self, text: str, *args: object) -> None:
        self._tell(self.label, text, *args, detail=True)

    # The process.

    def _end(self) -> None:
        self.agent, self.paused, self.stopping = None, False, False
        self._events.clear()
        self._actions.clear()

    def _post(self, event: Event) -> None:
        if self.agent is not None:
            self._events.append(event)
            self._turn()

    def _turn(self) -> None:
        schedule = self._schedule
        while self.agent is not None and not self.paused:
            if schedule.now < self._busy_until:
                return self._wake_at(self._busy_until)
            if self._actions:
                self._perform(self._actions.popleft())
            elif self._events:
                self._step(self.agent, self._events.popleft())
            else:
                due = self.agent.deadline()
                if due is None:
                    return None
                if due > self.mono:
                    return self._wake_at(self._instant(due))
                self._step(self.agent, Tick())
        return None

    def _wake_at(self, when: MonoNs) -> None:
        if self._schedule.now < self._wake_due <= when:
            return
        self._wake_due = when
        self._schedule.at(when, self._wake)

    def _wake(self) -> None:
        if self._schedule.now >= self._wake_due:
            self._wake_due = MonoNs(0)
        self._turn()

    def _step(self, agent: Agent, event: Event) -> None:
        now = self.mono
        wall = WallNs(EPOCH + self._schedule.now + self.wall_error)
        self._left.clear()
        if actions := agent.step(Moment(now, wall), event):
            self._safety.decided(self.label, self.settings.groups, actions)
            self._actions.extend(actions)
        self._busy_until = MonoNs(self._schedule.now + self.slowness)
        due = agent.deadline()
        assert due is None or due > now, f"{self.label} would spin"

    @property
    def mono(self) -> MonoNs:
        """The time on this host, by the clock that timers run on."""
        elapsed = self._schedule.now - self._mono_since
        if self._drift_ppm:
            elapsed += elapsed * self._drift_ppm // 1_000_000
        return MonoNs(self._mono_base + elapsed)

    def _instant(self, mono: MonoNs) -> MonoNs:
        """Return when the clock of this host will first show ``mono``, or has shown it."""
        shown = mono - self._mono_base
        return MonoNs(self._mono_since - (-shown * 1_000_000 // (1_000_000 + self._drift_ppm)))

    # What the agent asks for.

    def _perform(self, action: Action) -> None:
        match action:
            case SendDatagram():
                self._send(action)
            case ClaimAddress() | ReleaseAddress():
                self._change_address(action)
            case OpenFence():
                self._open_fence(action)
            case CloseFence(address=address):
                self._set_fence(address.ip, MonoNs(0))
            case AnnounceAddress(interface=interface, address=address):
                self._announce(interface, address)
            case AskAddress() | AskHost():
                self._ask(action)
            case WatchProcesses() | WatchChecks():
                self._watch(action)
            case ReserveTerm(group, term):
                self._reserve(action, group, term)
            case Record():
                self._note(
                    "%s%s: %s", f"{action.group} " * bool(action.group), action.kind, action.text
                )
            case Finished(kept):
                self._finish(kept)
            case RunHook(kind="before_claim"):
                # In no time, and well: what a hook of yours takes is for you to know.
                ended = HookEnded(action=action, ok=True, text="done", took=DurationNs(0))
                self._events.append(ended)
            case _:
                pass

    def _watch(self, action: WatchProcesses | WatchChecks) -> None:
        if isinstance(action, WatchProcesses):
            self._watched = action.places
            return
        # What they look at is no part of the simulated world: all is well there.
        for group, check in sorted(action.checks, key=lambda each: (each[0], each[1].name)):
            self._post(CheckReported(group=group, check=check, passed=True, text="well"))

    def _send(self, action: SendDatagram) -> None:
        datagram = action.datagram
        header = datagram.header
        held = [ip for ip, group in self.addresses.items() if group == header.group]
        port = self._ports[self.settings.heartbeat.paths[header.path].interface]
        self._safety.said(self.label, datagram, self._schedule.now, held, left=port.up)
        if not isinstance(datagram.body, Heartbeat):
            to = action.destination or "all"
            self._detail("says %s to %s, term %d", datagram.body, to, header.term)
        self._left[header.group] = port.up or self._left.get(header.group, False)
        payload: Payload = datagram
        if self._keyring is not None:
            payload = encode(datagram, self._keyring, port.address)
        self._network.send(port, payload, action.destination)

    def _change_address(self, action: ClaimAddress | ReleaseAddress) -> None:
        self._busy_until = later(self._schedule.now, KERNEL_CALL)
        ip = action.address.ip
        if isinstance(action, ReleaseAddress):
            if self.addresses.pop(ip, None) is not None:
                self._detail("no longer has %s", ip)
        elif self.refuses_claims:
            self._events.append(ActionFailed(action, EPERM, "refused"))
            return
        else:
            self._detail("has %s", ip)
            self.addresses[ip] = action.group
        self._judge(ip)
        self._events.append(ActionDone(action))

    def _announce(self, interface: str, address: IPInterface) -> None:
        if self.answers(address.ip):
            claimed = Claimed(address.ip, self.mac, question=True)
            self._network.announce(self._ports[interface], claimed)

    def _ask(self, action: AskAddress | AskHost) -> None:
        if isinstance(action, AskHost):
            port = self._ports[self.settings.heartbeat.paths[action.path].interface]
            self._network.send(port, Asked(action.address), action.address)
        else:
            probe = Claimed(action.address.ip, None, question=True)
            self._network.send(self._ports[action.interface], probe, None)

    def _open_fence(self, action: OpenFence) -> None:
        """As the real data plane does: the heartbeat behind it is in time, and has left."""
        if self.mono < action.by and self._left.get(action.group, True):
            until = self._instant(action.until)
            timing = self.settings.heartbeat
            self._safety.opened(self.label, action.group, self._schedule.now, until, timing)
            self._set_fence(action.address.ip, action.until)

    def _set_fence(self, ip: IPAddress, until: MonoNs) -> None:
        self._fences[ip] = until
        self._judge(ip)

    def _close_all(self) -> None:
        for ip in self._fences:
            self._set_fence(ip, MonoNs(0))

    def _clear(self, kept: Collection[GroupId] = ()) -> None:
        for ip, group in list(self.addresses.items()):
            if group not in kept:
                self._set_fence(ip, MonoNs(0))
                del self.addresses[ip]

    def _judge(self, ip: IPAddress) -> None:
        now = self._schedule.now
        until = self._instant(self._fences[ip]) if self.answers(ip) else now
        self._safety.answers(self.label, ip, now, until)

    def _judge_all(self) -> None:
        for ip in self._fences:
            self._judge(ip)

    def _reserve(self, action: ReserveTerm, group: GroupId, term: Term) -> None:
        if self.disk_full:
            self._events.append(ActionFailed(action, ENOSPC, "no space left on device"))
            self._safety.forgotten(self.label)
            return
        self.terms[group] = term
        self._events.append(ActionDone(action))

    def _finish(self, kept: tuple[Tenure, ...]) -> None:
        self._note(f"has finished and keeps {len(kept)} groups")
        groups = [tenure.group for tenure in kept]
        left = [ip for ip, group in self.addresses.items() if group not in groups]
        self._safety.finished(self.label, left)
        self._end()
        self._kept = kept

    # What comes from the network.

    def _receive(self, port: Port, sender: Port, payload: Payload) -> None:
        if not self.powered:
            return
        if self.suspended:
            if len(self._backlog) < BACKLOG:
                self._backlog.append((port, sender, payload))
            return
        match payload:
            case Datagram():
                self._post_datagram(port, sender, payload)
            case bytes() | Corrupted():
                self._decode(port, sender, payload)
            case Claimed():
                self._hear_claim(port, sender, payload)
            case Asked():
                self._network.send(port, Answered(), sender.address)
            case Answered():
                self._hear_answer(port, sender)
            case Refusal():
                self._hear_refusal(port, sender)

    def _hear_claim(self, port: Port, sender: Port, claimed: Claimed) -> None:
        if claimed.mac is not None:
            self._post(ForeignAddressSeen(port.interface, claimed.address, claimed.mac))
        if claimed.question and self.answers(claimed.address):
            answer = Claimed(claimed.address, self.mac, question=False)
            self._network.send(port, answer, sender.address)

    def _hear_answer(self, port: Port, sender: Port) -> None:
        self._post(HostAnswered(self._paths[port.interface], sender.address, "ARP"))

    def _hear_refusal(self, port: Port, sender: Port) -> None:
        path = self._paths.get(port.interface)
        if path is not None and (path, sender.address) in self._watched:
            self._post(ProcessEnded(path, sender.address))

    def _decode(self, port: Port, sender: Port, payload: bytes | Corrupted) -> None:
        assert self._keyring is not None, "all hosts speak alike"
        if isinstance(payload, Corrupted):
            decoded = decode(payload.payload, self._keyring, sender.address, HOP_LIMIT)
            self._safety.corrupted(self.label, decoded)
            return
        decoded = decode(payload, self._keyring, sender.address, HOP_LIMIT)
        assert not isinstance(decoded, Discard), decoded
        self._post_datagram(port, sender, decoded)

    def _post_datagram(self, port: Port, sender: Port, datagram: Datagram) -> None:
        if self.agent is not None:
            self._events.append(
                DatagramReceived(
                    path=self._paths[port.interface],
                    source=sender.address,
                    received_at=self.mono,
                    datagram=datagram,
                )
            )
            self._turn()
