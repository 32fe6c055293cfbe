"""A frozen view of everything one agent knows, for the command line and other observers."""

from dataclasses import dataclass

from haagent.core.actions import Backend, Record, Severity
from haagent.core.checks import CheckSettings
from haagent.core.events import Steered
from haagent.core.fleet.node import Standing
from haagent.core.identity import BootId, NodeId, Priority, Term
from haagent.core.messages import RoleReason, Service, State
from haagent.core.settings import IPAddress, IPInterface
from haagent.core.units import DurationNs, MonoNs


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressStatus:
    """One virtual address of a group on this host."""

    interface: str
    """Another than the group's only while the address leaves it after a reload."""
    address: IPInterface
    held: bool
    """Confirmed by the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStatus:
    """The role of one agent in one group."""

    group: str
    state: State
    reason: RoleReason
    since: MonoNs
    base_priority: Priority
    """As configured."""
    priority: Priority
    """Effective: 0 while the agent cannot be master."""
    health: int
    """Effective: below ``HEALTHY`` while checks demote the agent, 0 while it cannot be master."""
    term: Term
    master: str | None
    """Name of the master in that agent's view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStatus:
    """What a check of a group is taken for."""

    check: CheckSettings
    passed: bool | None
    """None until it has reported for the first time."""
    since: MonoNs | None
    text: str
    """What was found when that began, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRuns:
    """What the attempts of a check have come to, as whoever makes them knows."""

    runs: int = 0
    failed: int = 0
    text: str = ""
    """What the last one found, in a line."""
    age: DurationNs | None = None
    """How long ago that was; None before the first has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanges:
    """How often, since the start, an agent has come into a state for a reason."""

    state: State
    reason: RoleReason
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """This agent in one group."""

    role: RoleStatus
    interface: str
    addresses: tuple[AddressStatus, ...]
    preempts_at: MonoNs | None
    """When it asks a lesser master for a handover, if it is to."""
    checks: tuple[CheckStatus, ...] = ()
    changes: tuple[RoleChanges, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStatus:
    """What came from a peer over one of our paths."""

    interface: str
    source: IPAddress
    last_heard: MonoNs
    loss_permille: int | None
    """Of its heartbeats, of late; None until enough were due."""
    round_trip: DurationNs | None
    """There and back, of late; None until one was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """Another agent, as last heard."""

    name: str
    node: NodeId
    boot: BootId
    alive: bool
    last_heard: MonoNs
    hears_us: bool
    """Whether its newest heartbeat lists us as heard."""
    paths: tuple[PathStatus, ...]
    roles: tuple[RoleStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendsStatus:
    """HAProxy: wanted and seen."""

    reachable: bool
    wanted: tuple[Backend, ...]
    seen: tuple[Backend, ...]
    trouble: str
    file: str = ""
    """The configuration file that has the servers too; empty when there is none."""
    file_trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What HAProxy counts of a server, as whoever asks it knows."""

    status: str
    """As HAProxy judges it: ``UP``, ``DOWN``, ``MAINT``, ``no check``."""
    sessions: int
    """Open now."""
    sessions_per_s: int
    sessions_total: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStatus:
    """How a hook ended last."""

    queue: str
    """``group web`` or ``node app1``."""
    kind: str
    """``master``, ``on_dead``."""
    ok: bool
    text: str
    ended: MonoNs
    took: DurationNs


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """How many app nodes have a service, and how they stand."""

    name: str
    serving: int
    unhealthy: int
    held: int
    """Vanished with many others, and not believed to be dead."""
    dead: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One app node, as last heard."""

    name: str
    node_class: str
    address: IPAddress
    standing: Standing
    since: MonoNs
    last_heard: MonoNs
    interval_ms: int
    """As it has promised."""
    busy_permille: int
    """Damped."""
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesStatus:
    """The app nodes."""

    services: tuple[ServiceStatus, ...]
    total: int
    """How many are known; those that are dead or have left count for a day."""
    shown: tuple[NodeStatus, ...]
    """Some of them: those in trouble first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A condition that lasts and that an operator should end."""

    kind: str
    text: str
    severity: Severity
    since: MonoNs


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One agent's whole view."""

    node: str
    node_id: NodeId
    boot: BootId
    cluster: str
    groups: tuple[GroupStatus, ...]
    peers: tuple[PeerStatus, ...]
    haproxy: BackendsStatus | None
    """None when no HAProxy is configured."""
    nodes: NodesStatus | None = None
    """None when the file has nothing of app nodes."""
    hooks: tuple[HookStatus, ...] = ()
    """The newest last; those that have not run yet are missing."""
    steered: Steered | None = None
    """What the operator wants, and is in force; None before the agent has begun."""
    alarms: tuple[Alarm, ...]
    records: tuple[Record, ...]
    """The newest records, oldest first."""
