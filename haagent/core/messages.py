"""What agents say to each other, as values; ``haagent.wire.heartbeat`` makes them bytes.

Every datagram is a :class:`Header`, the sender's view of one group, and a body that is
its type.  Numbers are those of the wire format (protocol.md 4.3).
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag, auto
from typing import TypeAlias

from haagent.core.clocks import Stamp
from haagent.core.identity import Ballot, BootId, GroupId, NodeId, Priority, Rank, Term
from haagent.core.settings import IPAddress


class State(IntEnum):
    """State of an agent in a group (protocol.md 3.6); those left out here come later."""

    INIT = 0
    LISTEN = 1
    BACKUP = 2
    SUSPECT = 3
    """A backup whose master is late: it asks whether the master is alive."""
    CANDIDATE = 4
    MASTER = 6
    RESIGNING = 7
    FAULT = 9

    @property
    def owns_addresses(self) -> bool:
        """Whether the addresses of the group are on this host in this state."""
        return self is State.MASTER or self is State.RESIGNING


class RoleReason(IntEnum):
    """Why an agent is in the state that it is in."""

    STARTING = 0
    FOLLOWING = 1
    NO_MASTER = 2
    MASTER_SILENT = 3
    MASTER_LEFT = 4
    HANDOVER = 5
    HANDED_OVER = 6
    OUTRANKED = 7
    LINK_DOWN = 8
    STALLED = 9
    CLAIM_FAILED = 10
    DUPLICATE_NODE = 11
    STOPPING = 12
    GAVE_WAY = 13
    HANDOVER_FAILED = 14
    RESTARTED = 15
    MASTER_DIED = 16
    NO_PATH = 17
    UNHEARD = 18
    MAINTENANCE = 19
    CHECK_FAILED = 20
    UNCHECKED = 21
    CHOSEN = 22

    @property
    def text(self) -> str:
        """Return the reason as a person reads it."""
        return _REASON_TEXT[self]


_REASON_TEXT = {
    RoleReason.STARTING: "listening before any claim",
    RoleReason.FOLLOWING: "follows the master that it hears",
    RoleReason.NO_MASTER: "heard no master while listening",
    RoleReason.MASTER_SILENT: "the master fell silent",
    RoleReason.MASTER_LEFT: "the master left",
    RoleReason.HANDOVER: "took over by planned handover",
    RoleReason.HANDED_OVER: "handed over as planned",
    RoleReason.OUTRANKED: "met another master of higher rank",
    RoleReason.LINK_DOWN: "the interface of the group is down, missing or in a bridge",
    RoleReason.STALLED: "was stalled longer than the peers wait, gave everything up",
    RoleReason.CLAIM_FAILED: "the addresses could not be claimed",
    RoleReason.DUPLICATE_NODE: "another agent uses the same node name",
    RoleReason.STOPPING: "is stopping",
    RoleReason.GAVE_WAY: "gave way to another agent",
    RoleReason.HANDOVER_FAILED: "went on, because the successor did not get ready",
    RoleReason.MASTER_DIED: "the process of the master ended",
    RoleReason.NO_PATH: "no path carries what it says to its peers",
    RoleReason.RESTARTED: "went on after a planned restart",
    RoleReason.UNHEARD: "another master cannot hear this agent, which alone hears both",
    RoleReason.MAINTENANCE: "is kept out for maintenance",
    RoleReason.CHECK_FAILED: "a check has failed that the group depends on",
    RoleReason.UNCHECKED: "waits for the first results of its checks",
    RoleReason.CHOSEN: "was chosen by an operator; no better agent takes over by itself",
}


class Flag(IntFlag):
    """Flags of the header."""

    NONE = 0
    PRE = 1
    VOTE = 2
    TRANSFER = 4
    UNICAST = 8
    """Sent to one agent alone, beside or instead of what goes to all."""
    ELECTABLE = 16
    RESTARTING = 32
    PAUSED = 64
    """The sender has been told not to change the master on its own."""
    CHOSEN = 128
    """An operator chose the master, or with RESIGN its successor: no better one takes it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What every datagram carries: who sends it, and its view of one group."""

    sender: NodeId
    boot: BootId
    sequence: int
    """u64, counts every datagram of this boot over all types, groups and paths."""
    group: GroupId
    path: int
    """u8, index of the path in the sender's own file."""
    flags: Flag
    term: Term
    master: NodeId | None
    """The master of the group in the sender's view."""
    state: State
    base_priority: Priority
    priority: Priority
    """Effective priority; 0 means not electable."""
    health: int
    """u8, effective: ``HEALTHY``, less for each check that demotes the sender, 0 not electable."""
    interval_ms: int
    """u16, promise: the next heartbeat comes within this."""
    timeout_ms: int
    """u16, silence after which the sender may be declared dead."""
    stamp: Stamp

    @property
    def rank(self) -> Rank:
        return Rank(self.health, self.priority, self.sender)

    @property
    def electable(self) -> bool:
        return Flag.ELECTABLE in self.flags

    @property
    def paused(self) -> bool:
        return Flag.PAUSED in self.flags

    @property
    def chosen(self) -> bool:
        return Flag.CHOSEN in self.flags

    @property
    def restarting(self) -> bool:
        """Whether the process is about to end, and another to go on: that it ends is no death."""
        return Flag.RESTARTING in self.flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One entry of the HEARD list: what the sender last received from ``node``."""

    node: NodeId
    sequence_low: int
    """Low 32 bits of the sequence number last heard."""
    age_us: int
    """u32, age of that datagram when this one was sent; saturates."""
    by_unicast_only: bool = False
    """Whether nothing that ``node`` sends to all has arrived of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """ "I am here, this is my view"; from a master also the reminder of who is coordinator."""

    name: str
    """Node name, at most 64 bytes in UTF-8."""
    reason: RoleReason
    role_age_ms: int
    """u32, how long the sender has been in its state; saturates."""
    heard: tuple[Heard, ...]
    config_hash: int
    """u64 over what must be equal on all agents of the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Asks one agent to prove that it is alive in this boot, by returning ``nonce``."""

    destination: NodeId
    nonce: int
    """u64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAck:
    """The answer to :class:`Probe`."""

    destination: NodeId
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """Asks one agent whether it hears ``target``, which the sender does not."""

    destination: NodeId
    target: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The answer to :class:`ProbeRequest`: empty when the target is not known to live."""

    destination: NodeId
    heard: tuple[Heard, ...]


class ElectionKind(Enum):
    """What an :class:`Election` asks for."""

    PRE = Flag.PRE
    """Would you grant?  Nothing changes."""
    VOTE = Flag.VOTE
    """Grant, I am the candidate."""
    TRANSFER = Flag.TRANSFER
    """To the master: hand over to me."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """Asks for grants (bully election, Garcia-Molina 1982)."""

    kind: ElectionKind
    ballot: Ballot
    proposed_term: Term


class ObjectionCode(IntEnum):
    """Why a voter objects (protocol.md 3.2)."""

    ALIVE = 1
    LEASE = 2
    RANK = 3
    TERM = 4
    PAUSED = 5
    NOT_READY = 6
    AMNESIA = 7
    CONFIG = 8

    @property
    def text(self) -> str:
        """Return the objection as a person reads it."""
        return _OBJECTION_TEXT[self]


_OBJECTION_TEXT = {
    ObjectionCode.ALIVE: "hears the master, or its host answers",
    ObjectionCode.LEASE: "has promised to wait for another master",
    ObjectionCode.RANK: "ranks higher",
    ObjectionCode.TERM: "knows of a higher term",
    ObjectionCode.PAUSED: "is paused",
    ObjectionCode.NOT_READY: "would rank higher, and has just started",
    ObjectionCode.AMNESIA: "does not know what it has promised",
    ObjectionCode.CONFIG: "has another configuration",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A reasoned veto."""

    code: ObjectionCode
    remaining_ms: int
    """u32, for how long at least."""
    term: Term
    """The voter's term."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A grant, or an objection, for one ballot."""

    destination: NodeId
    ballot: Ballot
    objection: Objection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """Victory: the sender is master under the term of the header."""

    ballot: Ballot


class ResignPhase(IntEnum):
    """Steps of a planned handover."""

    PREPARE = 1
    READY = 2
    COMMIT = 3
    ABORT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resign:
    """One step of a planned handover between the master and ``successor``."""

    phase: ResignPhase
    ballot: Ballot
    """The ballot of the mastership that ends."""
    successor: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The sender leaves the group now and holds none of its addresses."""

    reason: RoleReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the host of an app node is."""

    cpu_permille: int
    """0..1000, of all its processors together."""
    memory_permille: int
    """0..1000."""
    queue_percent: int
    """Load average of one minute per processor; u16, saturates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What an app node serves."""

    name: str
    port: int
    """1..65535."""
    weight: int
    """0..256, HAProxy's own range."""
    healthy: bool
    """By the node's own check; true without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHeartbeat:
    """ "I serve this, and am so busy": what an app node sends to every agent.

    It belongs to no group, and is authenticated with a key of this node alone.
    """

    sender: NodeId
    boot: BootId
    """Seconds since 1970 at the start in the upper half, chance in the lower."""
    sequence: int
    """u64, counts every datagram of this boot over all paths."""
    path: int
    interval_ms: int
    """u16, promise: the next heartbeat comes within this, plus jitter."""
    nonce: int
    """u64, as the newest :class:`NodeAck` had it; 0 before any."""
    leaving: bool
    """Whether this is the last one: the node stops cleanly."""
    load: Load
    name: str
    """What ``sender`` is made of."""
    node_class: str
    address: IPAddress
    """Where its services listen."""
    services: tuple[Service, ...]
    """Each of another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAck:
    """An agent's answer to an app node: proof wanted, and the pace that the agent dictates.

    It names the heartbeat that it answers, so that an old one cannot be passed off as new: the
    node takes only answers to its own boot, and of each agent only to later and later heartbeats.
    """

    destination: NodeId
    agent: NodeId
    boot: BootId
    sequence: int
    """Of the heartbeat that is answered."""
    nonce: int
    """u64, not 0; a node that returns it in its next heartbeat lives in this boot."""
    interval_ms: int
    """u16, not 0."""
    jitter_ms: int
    """Each heartbeat may come so much earlier or later, so that a fleet stays spread; less than
    the interval."""


Body: TypeAlias = (
    Heartbeat
    | Probe
    | ProbeAck
    | ProbeRequest
    | ProbeResult
    | Election
    | Answer
    | Coordinator
    | Resign
    | Goodbye
)


@dataclass(frozen=True, slots=True)
class Datagram:
    """A header and its body."""

    header: Header
    body: Body


class DiscardReason(Enum):
    """Why a received datagram changed nothing; the first four need no key to be told."""

    MALFORMED = auto()
    """Not of the wire format, or of another major version."""
    OTHER_CLUSTER = auto()
    UNKNOWN_GROUP = auto()
    UNKNOWN_KEY = auto()
    BAD_MAC = auto()
    BAD_TTL = auto()
    OWN = auto()
    """Sent by this very boot."""
    REPLAYED = auto()
    """Sequence number seen before, or too old to tell."""
    UNPROVEN = auto()
    """A boot that has not answered our challenge yet."""
    OTHER_DESTINATION = auto()


@dataclass(frozen=True, slots=True)
class Discard:
    """A datagram that was thrown away; a value, never an exception."""

    reason: DiscardReason
    detail: str = ""
