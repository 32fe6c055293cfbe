"""Everything that the doctor found out, as values; the findings are drawn from these alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from haagent.core.identity import GroupId, NodeId
from haagent.core.messages import DiscardReason
from haagent.core.settings import AgentSettings, IPAddress, IPInterface, PathSettings


@dataclass(frozen=True, slots=True)
class Count:
    """How many datagrams, by the way that they were sent."""

    to_all: int = 0
    to_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """An agent that is heard on a path: what it proved to have said."""

    node: NodeId
    name: str
    source: IPAddress
    macs: frozenset[str]
    """It was heard from; empty without Ethernet."""
    wire: Count
    """What arrived at the interface."""
    passed: Count
    """What this host let through: it could reach an agent."""
    hears_us: bool | None = None
    """As it says itself; None when no heartbeat of its own was heard."""
    misses_multicast: bool = False
    """Whether it says that what we send to all does not arrive there."""
    ahead_ms: int = 0
    """How far its newest clock, or one that it has heard, is ahead of ours; negative: behind."""
    configurations: Mapping[GroupId, int] = field(default_factory=dict)
    """Hash of what must be equal, by group."""
    masters: frozenset[GroupId] = frozenset()
    """The groups that it says to be master of."""
    moved: frozenset[GroupId] = frozenset()
    """The groups that it became or ceased to be master of while it was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """Datagrams on our port that prove nothing."""

    source: IPAddress
    reason: DiscardReason
    detail: str
    count: int
    macs: frozenset[str] = frozenset()
    """They came from."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions to one agent, and how many of them came back answered."""

    to_all: int = 0
    answered_to_all: int = 0
    to_one: int = 0
    answered_to_one: int = 0

    @property
    def answered(self) -> int:
        return self.answered_to_all + self.answered_to_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Another agent's host at the other end of a path, whatever its agent does."""

    address: IPAddress
    protocols: frozenset[str]
    """In which its kernel has answered: ``ARP`` or ``NDP``, ``ICMP``."""
    port: str
    """What became of a connection to the agent's TCP port: ``open``, ``refused``, ``silent``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What was sent and heard on one path."""

    settings: PathSettings
    local: IPAddress | None = None
    """Our own address there; None when there is none."""
    trouble: str = ""
    """Why nothing could be sent or heard."""
    voices: tuple[Voice, ...] = ()
    strangers: tuple[Stranger, ...] = ()
    asked: Mapping[NodeId, Asked] = field(default_factory=dict)
    hosts: tuple[Host, ...] = ()
    unsent: str = ""
    """Why the kernel would not send or listen; empty when it did both."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Another host that says to have a virtual address."""

    interface: str
    address: IPAddress
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAgent:
    """What the agent of this host tells of itself."""

    lateness_ms: float
    """The worst of the last minute."""
    roles: Mapping[str, str]
    """State by group, in lower case, at the end of the visit."""
    uptime_ms: int
    moved: frozenset[str] = frozenset()
    """The groups in which it had another state at the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The local HAProxy."""

    trouble: str
    """Why its socket does not answer; empty when it does."""
    listens: frozenset[IPAddress] | None
    """Where its processes listen; None when that cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How this host is set, as far as it matters."""

    addresses: tuple[tuple[str, IPInterface], ...] = ()
    """All of this host at the end of the visit, with their interfaces."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """By their name with dots; one that does not exist is missing."""
    closed_chains: tuple[str, ...] = ()
    """Of the firewall: those that drop by default and never name our port."""
    managers: Mapping[str, str] = field(default_factory=dict)
    """Who else manages an interface and would remove what it did not put there."""
    synchronised: bool | None = None
    """Whether the kernel takes its wall clock for right; None when it does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One visit of the doctor."""

    settings: AgentSettings
    agent: RunningAgent | None
    agent_trouble: str = ""
    """Why the agent does not answer."""
    key_trouble: str = ""
    """Why there is no key to hear anybody with."""
    paths: tuple[Path, ...] = ()
    owners: tuple[Owner, ...] | None = None
    """None where nobody could be asked."""
    machine: Machine = Machine()
    proxy: Proxy | None = None
    """None when none is configured."""
    undone: tuple[str, ...] = ()
    """What could not be looked at, and what it would take."""
