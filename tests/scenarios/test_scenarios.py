"""Stories over time: commands with their time, and exactly what the agent does about them.

Each ``*.txt`` beside this file is one story about the agent ``lb1`` and its peers.  A block
is some commands, ``----``, and the actions that they lead to, with the time of the next Tick
last.  ``HAAGENT_UPDATE=1`` rewrites the answers; read the difference before you believe it.

Commands, each after its time.  The Ticks that become due until then come first, unless the
word ``late`` follows the time: then the agent was stalled.

    start [probing] [reference=ADDRESS] [priority=150] [preempt=after:5s] [reserved=7]
          [servers=NAME:WHEN[:OF],...] [renewals] [kept=TERM:UNTIL[:CHOSEN]]
          [checks=NAME[:demote],...] [hooks=KIND,...] [before_claim=TIMEOUT[:give_way]]
    link up | down [INTERFACE]
    mute | heard                nothing that it says leaves the host, or it does again
    wait                        nothing else than Ticks
    tick                        one more Tick
    confirm | refuse            the kernel does, or does not do, what was asked since
    refuse fence                it does not open the fence as it was last asked to
    check NAME passes | fails   one of the checks that are made is now taken for that
    removed | foreign MAC       somebody takes the address away, or uses it
    stop | restart
    ended KIND [failed]         the hook of that kind has ended that was asked for last
    reload [priority=150] [preempt=after:5s] [interface=eth0] [addresses=ADDRESS,...]
           [checks=NAME[:demote],...]
           [without-group]      a changed configuration; what is not given is as at the start
    node NAME starts [KEY=VALUE ...]  heartbeat, answer, proof; the first two are not shown
    node NAME says [leaving] [replayed | overtaken] [nonce=N] [KEY=VALUE ...]  one heartbeat
    nodes missed                more came from nodes than could be read
    nodes NAME,... talk         each says a heartbeat at its interval from the command before
    PEER meets [KEY=VALUE ...]  heartbeat, challenge, answer; the first two are not shown
    PEER talks                  heartbeats every 100 ms from the command before until then
    PEER answers PROTOCOL       its host does, ARP say; without PEER: answers ADDRESS
    steered [maintenance] [paused] [for=DURATION]
    failover PEER               the operator wants the peer to be master
    PEER dies                   its connection ends, and another one is refused
    PEER confirms               it proves that it has heard what it was last asked
    PEER says BODY [WORD ...] [KEY=VALUE ...]

What a peer once said of ``priority``, ``state``, ``term``, ``master``, ``electable``, ``boot``,
``restarting``, ``unicast``, ``paused``, ``chosen`` and ``timeout`` (in ms, as master) holds until
it says otherwise.  Heartbeats of the agent itself are left out, and so is the fence that each of
them keeps open, unless it starts with ``renewals``, and whose processes it watches.

With ``nodes=SERVICE:POLICY[:WHEN_EMPTY]`` the backend ``app`` has app nodes, of the class
``default`` (with ``slow=DURATION``, ``rise=2`` and, by the word ``mourn``, hooks) or, by the word
``calm``, of that name (2 s, dead after 5 s).  What a node once said of ``busy`` (per mille),
``class``, ``interval`` (ms), ``boot`` and ``services`` (NAME:WEIGHT:well or ill, with commas) holds
until it says otherwise.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from random import Random

import pytest

from haagent.core.actions import (
    AckNode,
    Action,
    AnnounceAddress,
    AskAddress,
    AskHost,
    Backend,
    CancelHook,
    ClaimAddress,
    CloseFence,
    CountDiscard,
    Finished,
    OpenFence,
    Record,
    ReleaseAddress,
    ReserveTerm,
    RunHook,
    SendDatagram,
    SetBackends,
    Tenure,
    WatchChecks,
    WatchProcesses,
)
from haagent.core.agent import Agent
from haagent.core.checks import CheckSettings, Consequence, FileCheck
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import (
    ActionDone,
    ActionFailed,
    AddressRemoved,
    CheckReported,
    DatagramReceived,
    Event,
    FailoverAsked,
    ForeignAddressSeen,
    HookEnded,
    HostAnswered,
    LinkChanged,
    NodeHeard,
    NodesHeard,
    PathChanged,
    ProcessEnded,
    RestartRequested,
    SettingsChanged,
    Steered,
    StopRequested,
    Tick,
)
from haagent.core.identity import (
    Ballot,
    GroupId,
    NodeId,
    Priority,
    Term,
    boot_id,
    group_id,
    node_id,
)
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Datagram,
    Election,
    ElectionKind,
    Flag,
    Goodbye,
    Header,
    Heard,
    Heartbeat,
    Load,
    NodeHeartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResult,
    Resign,
    ResignPhase,
    RoleReason,
    Service,
    State,
)
from haagent.core.ownership import AddressAction
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    BeforeClaim,
    Detection,
    GroupHooks,
    GroupSettings,
    HAProxySettings,
    HeartbeatSettings,
    HookSettings,
    NodeClassSettings,
    NodeServersSettings,
    NodesSettings,
    OnFail,
    PathSettings,
    Policy,
    Preempt,
    ServerSettings,
    When,
    WhenEmpty,
)
from haagent.core.units import Moment, MonoNs, WallNs, later, milliseconds

NAMES = ("lb1", "lb2", "lb3")
NODES = {node_id(name): name for name in NAMES}
ADDRESS = IPv4Interface("192.0.2.10/24")
EPOCH = 1_700_000_000_000_000_000
STORIES = sorted(Path(__file__).parent.glob("*.txt"))

SHOWN_FACTS = {"event", "role", "previous", "term", "reason", "master", "node", "address"}
"""Of what a hook is told; the rest is the same all the time, or the time itself."""

Words = list[str]
Options = dict[str, str]


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_written(story: Path) -> None:
    written = story.read_text(encoding="utf-8")
    played = "\n\n".join(play(written)) + "\n"
    if os.environ.get("HAAGENT_UPDATE"):
        story.write_text(played, encoding="utf-8")
        return

    assert played == written


def play(text: str) -> Iterator[str]:
    """Yield the blocks of ``text`` with the answers that the agent gives now."""
    stage = Stage()
    for block in text.strip().split("\n\n"):
        commands, mark, _ = block.partition("\n----")
        if not mark:
            yield block
            continue
        for line in commands.splitlines():
            if not line.startswith("#"):
                stage.command(line)
        yield "\n".join([commands, "----", *stage.answer()])


@dataclass
class Peer:
    """Another agent, played by the story."""

    name: str
    facts: Options = field(
        default_factory=lambda: {
            "priority": "100",
            "state": "backup",
            "term": "0",
            "master": "-",
            "electable": "yes",
            "boot": "1",
            "timeout": "600",
            "restarting": "no",
            "unicast": "no",
            "health": "100",
            "paused": "no",
            "chosen": "no",
        }
    )
    sequence: int = 0

    @property
    def source(self) -> IPv4Address:
        return IPv4Address(f"10.0.0.{NAMES.index(self.name) + 1}")


@dataclass
class AppNode:
    """An app node, played by the story."""

    name: str
    facts: Options = field(
        default_factory=lambda: {
            "busy": "0",
            "class": "default",
            "interval": "1000",
            "boot": "1",
            "services": "app:100:well",
        }
    )
    sequence: int = 0
    nonce: int = 0

    def heartbeat(self, options: Options, *words: str) -> NodeHeartbeat:
        """Return the next heartbeat."""
        self.facts |= {key: value for key, value in options.items() if key in self.facts}
        self.sequence += not {"replayed", "overtaken"} & set(words)
        parts = (each.split(":") for each in self.facts["services"].split(","))
        return NodeHeartbeat(
            sender=node_id(self.name),
            boot=boot_id(int(self.facts["boot"]), 0),
            sequence=self.sequence - ("overtaken" in words),
            path=0,
            interval_ms=int(self.facts["interval"]),
            nonce=int(options.get("nonce", self.nonce)),
            leaving="leaving" in words,
            load=Load(cpu_permille=int(self.facts["busy"]), memory_permille=100, queue_percent=10),
            name=self.name,
            node_class=self.facts["class"],
            address=self.source,
            services=tuple(
                Service(name=name, port=80, weight=int(weight), healthy=health == "well")
                for name, weight, health in parts
            ),
        )

    @property
    def source(self) -> IPv4Address:
        return IPv4Address(f"10.0.2.{self.name.removeprefix('app')}")


class Stage:
    """One agent, the peers that the story plays, and what has been said so far."""

    def __init__(self) -> None:
        self.now = MonoNs(0)
        self.lines: list[str] = []
        self.undone: list[ClaimAddress | ReleaseAddress] = []
        self.opened: OpenFence | None = None
        self.hooks: dict[str, RunHook] = {}
        self.nonces: dict[NodeId, int] = {}
        self.peers = {name: Peer(name) for name in NAMES}
        self.nodes: dict[str, AppNode] = {}
        self.ballot = Ballot(node_id("lb1"), boot_id(1, 0), 0)
        self.config = 0
        self.checks: frozenset[tuple[GroupId, CheckSettings]] = frozenset()
        self.renewals = False
        self.agent: Agent | None = None

    def command(self, line: str) -> None:  # noqa: C901, PLR0912  # One case for each command.
        """Do what ``line`` says."""
        time, *rest = line.split()
        now = duration(time)
        if rest[1:] == ["talks"]:
            return self._talk(self.peers[rest[0]], now)
        if rest == ["nodes", "missed"]:
            self._wait(now)
            self._step(NodesHeard((), missed=True))
            return None
        if rest[0] == "nodes":
            return self._nodes_talk(rest[1].split(","), now)
        if rest[0] == "late":
            del rest[0]
        elif self.agent is not None:
            self._wait(now)
        self.now = now
        verb, *rest = rest
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        words = [word for word in rest if "=" not in word]
        if verb in self.peers:
            return self._peer(self.peers[verb], words, options)
        match verb:
            case "wait":
                pass
            case "node":
                self._node(*words, options=options)
            case "start":
                self.renewals = "renewals" in words
                self._start(options, *words)
            case "reload":
                self._step(SettingsChanged(self._settings(options, *words)))
            case "ended" | "check":
                self._step(self._ended(*words) if verb == "ended" else self._reported(*words))
            case "confirm":
                self._settle(ActionDone)
            case "steered":
                until = WallNs(EPOCH + now + duration(options["for"])) if "for" in options else None
                maintenance, paused = "maintenance" in words, "paused" in words
                self._step(Steered(maintenance=maintenance, paused=paused, until=until))
            case "refuse" if words == ["fence"]:
                assert self.opened is not None, "nothing was opened"
                self._step(ActionFailed(self.opened, 1, "refused"))
            case "refuse":
                self._settle(lambda action: ActionFailed(action, 1, "refused"))
            case _:
                self._step(happening(verb, words))
        return None

    def answer(self) -> list[str]:
        """Return what was done since the last call, and when the next Tick is due."""
        lines, self.lines = self.lines, []
        due = None if self.agent is None else self.agent.deadline()
        return [*lines, "no deadline" if due is None else f"deadline {shown(due)}"]

    def _settings(self, options: Options, *words: str) -> AgentSettings:
        preempt, _, after = options.get("preempt", "after:5s").partition(":")
        group = GroupSettings(
            name="web",
            priority=Priority(int(options.get("priority", "150"))),
            interface=options.get("interface", "eth0"),
            addresses=tuple(
                IPv4Interface(text) for text in options.get("addresses", str(ADDRESS)).split(",")
            ),
            checks=tuple(map(check, filter(None, options.get("checks", "").split(",")))),
            preempt=Preempt(preempt),
            preempt_after=milliseconds(duration(after or "0ms") // 1_000_000),
            hooks=hooks(options),
        )
        gateway = options.get("reference")
        reference = IPv4Address(gateway) if gateway else None
        servers = tuple(server(word) for word in options.get("servers", "").split(",") if word)
        nodes = node_servers(options["nodes"]) if "nodes" in options else None
        haproxy = HAProxySettings(
            socket="-", backends=(BackendSettings(name="app", servers=servers, nodes=nodes),)
        )
        return AgentSettings(
            node="lb1",
            cluster="example",
            heartbeat=HeartbeatSettings(
                paths=(PathSettings(interface="eth0", reference=reference),),
                detection=Detection.PROBING if "probing" in words else Detection.FIXED,
            ),
            groups=() if "without-group" in words else (group,),
            haproxy=haproxy if servers or nodes else None,
            nodes=NodesSettings(classes=classes(options, *words)) if nodes else None,
        )

    def _start(self, options: Options, *words: str) -> None:
        settings, web = self._settings(options, *words), group_id("web")
        reserved = Term(int(options.get("reserved", "0")))
        kept = [tenure(web, options["kept"])] if "kept" in options else []
        self.agent = Agent(settings, boot_id(1, 0), {web: reserved}, Random(1), kept)

    def _wait(self, until: MonoNs) -> None:
        assert self.agent is not None
        while (due := self.agent.deadline()) is not None and due <= until:
            self.now = due
            self._step(Tick(), when=f"{shown(due)} ")
        self.now = until

    def _ended(self, kind: str, *words: str) -> Event:
        ok = "failed" not in words
        text = "done" if ok else "ended with exit code 1"
        return HookEnded(action=self.hooks[kind], ok=ok, text=text, took=milliseconds(20))

    def _reported(self, name: str, finding: str) -> Event:
        key, made = next((key, made) for key, made in self.checks if made.name == name)
        passed = finding == "passes"
        return CheckReported(group=key, check=made, passed=passed, text=f"it {finding}")

    def _settle(self, end: Callable[[Action], Event]) -> None:
        undone, self.undone = self.undone, []
        for action in undone:
            self._step(end(action))

    def _step(self, event: Event, when: str = "") -> list[Action]:
        assert self.agent is not None, "the story begins with start"
        actions = self.agent.step(Moment(self.now, WallNs(EPOCH + self.now)), event)
        beaten = False
        for action in actions:
            self._notice(action)
            if isinstance(action, OpenFence) and beaten and not self.renewals:
                continue
            beaten |= is_heartbeat(action)
            self.lines += [when + line for line in self._lines(action)]
        return actions

    def _notice(self, action: Action) -> None:
        match action:
            case ClaimAddress() | ReleaseAddress():
                self.undone.append(action)
            case OpenFence():
                self.opened = action
            case RunHook(kind=kind):
                self.hooks[kind] = action
            case WatchChecks(checks):
                self.checks = checks
            case SendDatagram(Datagram(_, Probe(destination=asked, nonce=nonce))):
                self.nonces[asked] = nonce
            case SendDatagram(Datagram(_, Heartbeat(config_hash=config))):
                self.config = config
            case SendDatagram(Datagram(_, Election(ballot=ballot) | Resign(ballot=ballot))):
                self.ballot = ballot
            case _:
                pass

    # What app nodes say.

    def _node(self, name: str, verb: str, *words: str, options: Options) -> None:
        node = self.nodes.setdefault(name, AppNode(name))
        if verb == "says":
            self._hear_nodes(node.heartbeat(options, *words), at=node.source)
            return
        node.nonce = 0
        before = list(self.lines)
        for action in self._hear_nodes(node.heartbeat(options), at=node.source):
            if isinstance(action, AckNode):
                node.nonce = action.ack.nonce
        assert node.nonce, f"{name} is not asked for proof"
        self.lines = before
        self._hear_nodes(node.heartbeat(options), at=node.source)

    def _nodes_talk(self, names: Words, until: MonoNs) -> None:
        """Have each say its heartbeat every interval, a little after the one before."""
        nodes = [self.nodes[name] for name in names]
        interval = milliseconds(int(nodes[0].facts["interval"]))
        start = self.now
        for time in range(start + interval, until + 1, interval):
            for number, node in enumerate(nodes):
                self._wait(later(MonoNs(time), milliseconds(number)))
                self._hear_nodes(node.heartbeat({}), at=node.source)
        self._wait(until)

    def _hear_nodes(self, heartbeat: NodeHeartbeat, at: IPv4Address) -> list[Action]:
        heard = NodeHeard(source=at, port=6941, way=0, received_at=self.now, heartbeat=heartbeat)
        return self._step(NodesHeard((heard,)))

    # What peers say.

    def _talk(self, peer: Peer, until: MonoNs) -> None:
        for now in [*range(self.now, until, milliseconds(100)), until]:
            self._wait(MonoNs(now))
            self._hear(peer, self._body(peer, ["heartbeat"], {}))

    def _peer(self, peer: Peer, words: Words, options: Options) -> None:
        peer.facts |= {key: value for key, value in options.items() if key in peer.facts}
        if words == ["meets"]:
            shown_before = list(self.lines)
            refused = self._hear(peer, self._body(peer, ["heartbeat"], {}))
            nonces = [
                action.datagram.body.nonce
                for action in refused
                if isinstance(action, SendDatagram) and isinstance(action.datagram.body, Probe)
            ]
            assert nonces, f"{peer.name} is not challenged"
            self.lines = shown_before
            self._hear(peer, ProbeAck(destination=node_id("lb1"), nonce=nonces[0]))
            words = ["says", "heartbeat"]
        if words[0] == "answers":
            self._step(HostAnswered(0, peer.source, words[1]))
            return
        if words == ["dies"]:
            self._step(ProcessEnded(0, peer.source))
            return
        if words == ["confirms"]:
            nonce = self.nonces[node_id(peer.name)]
            self._hear(peer, ProbeAck(destination=node_id("lb1"), nonce=nonce))
            return
        self._hear(peer, self._body(peer, words[1:], options))

    def _hear(self, peer: Peer, body: Body) -> list[Action]:
        peer.sequence += 1
        facts = peer.facts
        state = State[facts["state"].upper()]
        interval_ms = 1000 if state is State.BACKUP else 200
        electable = facts["electable"] == "yes"
        header = Header(
            sender=node_id(peer.name),
            boot=boot_id(int(facts["boot"]), 0),
            sequence=peer.sequence,
            group=group_id("web"),
            path=0,
            flags=(Flag.ELECTABLE if electable else Flag.NONE)
            | (Flag.RESTARTING if facts["restarting"] == "yes" else Flag.NONE)
            | (Flag.UNICAST if facts["unicast"] == "yes" else Flag.NONE)
            | (Flag.PAUSED if facts["paused"] == "yes" else Flag.NONE)
            | (Flag.CHOSEN if facts["chosen"] == "yes" else Flag.NONE),
            term=Term(int(facts["term"])),
            master=None if facts["master"] == "-" else node_id(facts["master"]),
            state=state,
            base_priority=Priority(int(facts["priority"])),
            priority=Priority(int(facts["priority"]) if electable else 0),
            health=int(facts["health"]) if electable else 0,
            interval_ms=interval_ms,
            timeout_ms=int(facts["timeout"]) * interval_ms // 200,
            stamp=Stamp(Hlc(0, 0), 0),
        )
        return self._step(
            DatagramReceived(
                path=0,
                source=peer.source,
                received_at=self.now,
                datagram=Datagram(header, body),
            )
        )

    def _body(self, peer: Peer, words: Words, options: Options) -> Body:
        kind, *rest = words
        ballot = Ballot(node_id(peer.name), boot_id(int(peer.facts["boot"]), 0), 1)
        match kind:
            case "heartbeat":
                return Heartbeat(
                    name=peer.name,
                    reason=RoleReason.FOLLOWING,
                    role_age_ms=0,
                    heard=()
                    if "deaf" in rest
                    else (Heard(node=node_id("lb1"), sequence_low=0, age_us=100_000),),
                    config_hash=int(options.get("config", self.config)),
                )
            case "probe_result":
                age_us = int(options["age"].removesuffix("ms")) * 1000
                entry = Heard(node=node_id(rest[0]), sequence_low=0, age_us=age_us)
                return ProbeResult(destination=node_id("lb1"), heard=(entry,))
            case "probe_request":
                return ProbeRequest(destination=node_id("lb1"), target=node_id(rest[0]))
            case "coordinator":
                return Coordinator(ballot=ballot)
            case "goodbye":
                return Goodbye(reason=RoleReason[rest[0].upper()])
            case "election":
                term = Term(int(options.get("proposed", int(peer.facts["term"]) + 1)))
                return Election(
                    kind=ElectionKind[rest[0].upper()], ballot=ballot, proposed_term=term
                )
            case "answer":
                return Answer(
                    destination=node_id("lb1"),
                    ballot=self.ballot,
                    objection=objection(rest, options, Term(int(peer.facts["term"]))),
                )
            case "resign":
                phase = ResignPhase[rest[0].upper()]
                return Resign(
                    phase=phase,
                    ballot=self.ballot if phase is ResignPhase.READY else ballot,
                    successor=node_id(options.get("successor", "lb1")),
                )
            case _:
                raise ValueError(kind)

    # What the agent does, in words.

    def _lines(self, action: Action) -> list[str]:  # noqa: C901, PLR0912  # One case for each action.
        match action:
            case SendDatagram(Datagram(header, body), destination):
                if is_heartbeat(action):
                    return []
                to = "all" if destination is None else self._at(destination)
                chosen = ", chosen" if header.chosen else ""
                state = f"{header.state.name}, term {header.term}{chosen}"
                return [f"send {said(body)} to {to}: {state}"]
            case ClaimAddress(term=term):
                return [f"claim {place(action)}, term {term}"]
            case ReleaseAddress(term=term):
                return [f"release {place(action)}, term {term}"]
            case OpenFence(until=until):
                return [f"open-fence {place(action)} until {shown(until)}"]
            case CloseFence():
                return [f"close-fence {place(action)}"]
            case AnnounceAddress(term=term):
                return [f"announce {place(action)}, term {term}"]
            case WatchProcesses():
                return []
            case WatchChecks(checks):
                names = sorted(check.name for _, check in checks)
                return [f"make checks: {', '.join(names) or 'none'}"]
            case AskAddress(address=address):
                return [f"ask who has {address}"]
            case AskHost(address=address):
                return [f"ask the host {self._at(address)}"]
            case ReserveTerm(_, term):
                return [f"reserve terms up to {term}"]
            case CountDiscard(source, reason):
                return [f"discard {reason.name} from {self._at(source)}"]
            case SetBackends(backends=backends):
                return [f"backends {', '.join(listed(each) for each in backends)}"]
            case AckNode(ack, destination):
                return [f"ack {destination}: every {ack.interval_ms} ms"]
            case RunHook(queue=queue, kind=kind, facts=facts):
                told = " ".join(f"{name}={value}" for name, value in facts if name in SHOWN_FACTS)
                return [f"run {kind} of {queue}: {told}"]
            case CancelHook(RunHook(queue=queue, kind=kind)):
                return [f"cancel {kind} of {queue}"]
            case Record(severity=severity, kind=kind, text=text, evidence=evidence):
                return [
                    f"record {severity.name} {kind}: {text}",
                    *(f"    {line}" for line in evidence),
                ]
            case Finished(kept):
                return [f"keep term {each.term} until {shown(each.until)}" for each in kept] + [
                    "finished"
                ]

    def _at(self, address: object) -> str:
        names = (peer.name for peer in self.peers.values() if peer.source == address)
        return next(names, str(address))


def listed(backend: Backend) -> str:
    """Return the servers of ``backend``, with their weight where it is another than 100."""
    servers = [s.name if s.weight == 100 else f"{s.name}*{s.weight}" for s in backend.servers]
    return f"{backend.name} = {servers}" + (" and others as they are" * (not backend.whole))


def node_servers(text: str) -> NodeServersSettings:
    """Return what is written ``service:policy`` or ``service:policy:when_empty``."""
    service, policy, *empty = text.split(":")
    return NodeServersSettings(
        service=service, policy=Policy(policy), when_empty=WhenEmpty(*empty or ["keep"])
    )


def classes(options: Options, *words: str) -> tuple[NodeClassSettings, ...]:
    """Return the classes of app nodes in the story's file."""
    hook = HookSettings(command=("/hook",)) if "mourn" in words else None
    default = NodeClassSettings(
        rise=int(options.get("rise", "2")),
        slow_start=milliseconds(duration(options.get("slow", "0s")) // 1_000_000),
        on_dead=hook,
        on_back=hook,
    )
    calm = NodeClassSettings(
        name="calm",
        interval=milliseconds(2000),
        jitter=milliseconds(0),
        timeout=milliseconds(5000),
    )
    return (default, calm) if "calm" in words else (default,)


def happening(verb: str, words: Words) -> Event:
    """Return the event called ``verb``."""
    match verb, words:
        case "tick", []:
            return Tick()
        case "link", [state, *interface]:
            return LinkChanged(interface[0] if interface else "eth0", state == "up")
        case "removed", []:
            return AddressRemoved("eth0", ADDRESS.ip)
        case "foreign", [mac]:
            return ForeignAddressSeen("eth0", ADDRESS.ip, mac)
        case "answers", [address]:
            return HostAnswered(0, IPv4Address(address), "ARP")
        case "failover", [peer]:
            return FailoverAsked(group_id("web"), node_id(peer))
        case "mute", []:
            return PathChanged(0, "eth0: no IPv4 address of its own", carries=False)
        case "heard", []:
            return PathChanged(0, "", carries=True)
        case "stop", []:
            return StopRequested()
        case "restart", []:
            return RestartRequested()
        case _:
            raise ValueError(verb)


def place(action: AddressAction) -> str:
    """Return the address, and its interface unless that is eth0."""
    return f"{action.address}" + (f" on {action.interface}" if action.interface != "eth0" else "")


def is_heartbeat(action: Action) -> bool:
    """Return whether it is one of those that go to all."""
    if not isinstance(action, SendDatagram) or action.destination is not None:
        return False
    return isinstance(action.datagram.body, Heartbeat)


def duration(text: str) -> MonoNs:
    """Return ``250ms`` or ``5s`` in nanoseconds."""
    if text.endswith("ms"):
        return later(MonoNs(0), milliseconds(int(text[:-2])))
    return later(MonoNs(0), milliseconds(int(text[:-1]) * 1000))


def shown(instant: MonoNs) -> str:
    return f"{instant / 1_000_000:.10g}ms"


def tenure(group: GroupId, text: str) -> Tenure:
    """Return the mastership written ``term:until`` or ``term:until:chosen``."""
    term, until, *chosen = text.split(":")
    return Tenure(
        group=group,
        term=Term(int(term)),
        until=duration(until),
        chosen=int(chosen[0]) if chosen else None,
    )


def server(text: str) -> ServerSettings:
    """Return the server written ``name:when`` or ``name:when:of``."""
    name, when, *of = text.split(":")
    return ServerSettings(
        name=name,
        address=IPv4Address("10.0.1.1"),
        port=80,
        when=When(when),
        group=None if when == "always" else group_id("web"),
        of=of[0] if of else None,
    )


def hooks(options: Options) -> GroupHooks:
    """Return hooks of the kinds that are wanted, and how long a claim waits for one."""
    kinds = [kind for kind in options.get("hooks", "").split(",") if kind]
    timeout, _, on_fail = options.get("before_claim", "").partition(":")
    before = None
    if timeout:
        before = BeforeClaim(
            command=("before",),
            timeout=milliseconds(duration(timeout) // 1_000_000),
            on_fail=OnFail(on_fail or "claim"),
        )
    each = {kind: HookSettings(command=(kind,)) for kind in kinds}
    return GroupHooks(**each, before_claim=before)


def check(text: str) -> CheckSettings:
    """Return the check written ``name`` or ``name:demote``."""
    name, _, on_fail = text.partition(":")
    return CheckSettings(
        name=name,
        what=FileCheck("/-"),
        timeout=milliseconds(500),
        on_fail=Consequence(on_fail or "release"),
    )


def objection(words: Words, options: Options, term: Term) -> Objection | None:
    """Return None for ``grant``, else the objection of that name."""
    if words == ["grant"]:
        return None
    remaining_ms = int(options.get("remaining", "0ms").removesuffix("ms"))
    return Objection(code=ObjectionCode[words[0].upper()], remaining_ms=remaining_ms, term=term)


def said(body: Body) -> str:
    """Return the kind of ``body`` and what matters of it."""
    match body:
        case Election(kind=kind, proposed_term=term):
            return f"election {kind.name} for term {term}"
        case Answer(objection=None):
            return "answer GRANT"
        case Answer(objection=Objection(code=code, remaining_ms=remaining_ms)):
            return f"answer {code.name} ({remaining_ms} ms)"
        case Resign(phase=phase, successor=successor):
            return f"resign {phase.name} successor {NODES[NodeId(successor)]}"
        case Goodbye(reason=reason):
            return f"goodbye {reason.name}"
        case _:
            return type(body).__name__.lower()
