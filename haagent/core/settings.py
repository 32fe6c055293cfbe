"""All parameters of the protocol and the data plane, validated and frozen.

``haagent.config`` makes these from the operator's file; the simulator and the tests make
them directly.  Nothing here reads or checks a file.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TypeAlias

from haagent.core.checks import CheckSettings
from haagent.core.identity import GroupId, NodeId, Priority, group_id, node_id
from haagent.core.units import DurationNs, milliseconds, seconds

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
"""An address with its prefix length, as it is put on an interface."""

MULTICAST_IPV4 = IPv4Address("224.0.0.254")
MULTICAST_IPV6 = IPv6Address("ff02::114")
"""Reserved for experiments (RFC 4727); link-local groups are never routed and are flooded by
switches that snoop (RFC 4541)."""

DEFAULT_PORT = 6940


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSettings:
    """One interface that carries every heartbeat, by multicast or to named peers."""

    interface: str
    group: IPAddress = MULTICAST_IPV4
    """Multicast group; its family is the family of the path.  Unused with ``peers``."""
    peers: tuple[IPAddress, ...] = ()
    """Unicast instead of multicast when not empty; all of one family."""
    reference: IPAddress | None = None
    """A third party on this link, such as the gateway: who reaches neither it nor any agent
    must be cut off itself."""


class Detection(Enum):
    """How it is found out that an agent is dead."""

    PROBING = "probing"
    """Who is late is asked at once, on every path and in every way (protocol.md 2.2)."""
    FIXED = "fixed"
    """Whoever is silent for longer than it promised is dead, as in VRRP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    """Intervals and time limits of failure detection and election (protocol.md 3.7)."""

    paths: tuple[PathSettings, ...]
    port: int = DEFAULT_PORT
    interval: DurationNs = milliseconds(200)
    """I: a master sends at this interval, 10 ms or more."""
    detection: Detection = Detection.PROBING

    @property
    def backup_interval(self) -> DurationNs:
        """How often an agent sends in a group that it is not master of: 5 I."""
        return DurationNs(5 * self.interval)

    @property
    def fast_interval(self) -> DurationNs:
        """How often an agent sends that suspects, stands or hands over: I / 4, 10 ms or more.

        In whole milliseconds as it travels.
        """
        return milliseconds(max(10, self.interval // 4_000_000))

    @property
    def late(self) -> DurationNs:
        """When a master may be late at the earliest, and another question makes sense."""
        return DurationNs(self.interval + self.interval // 4)

    @property
    def listen(self) -> DurationNs:
        """How long an agent listens before any claim: 1 s, or 3 I when that is longer."""
        return DurationNs(max(seconds(1), 3 * self.interval))

    @property
    def takeover(self) -> DurationNs:
        """Silence after which peers take over: an agent that was away longer fences itself."""
        return patience(self.interval)

    @property
    def lease(self) -> DurationNs:
        """How long a heartbeat keeps the fence open: 3 I, so that it closes before a takeover."""
        return DurationNs(3 * self.interval)

    @property
    def restart_interval(self) -> DurationNs:
        """What a master promises for a planned restart: 1 s, or I when that is longer."""
        return DurationNs(max(seconds(1), self.interval))

    @property
    def restart_lease(self) -> DurationNs:
        """How long that promise keeps the fence open."""
        return DurationNs(3 * self.restart_interval)

    @property
    def stagger(self) -> DurationNs:
        """Delay per position in the order of ranks, so that the best backup moves first."""
        return milliseconds(20)

    @property
    def answer_timeout(self) -> DurationNs:
        """E: how long a candidate waits for answers."""
        return milliseconds(30)


def patience(interval: DurationNs) -> DurationNs:
    """Return the silence that makes an agent dead which speaks each ``interval``: 3.25 of these.

    Two heartbeats may be lost and the third be a little late (ADR 0011).

    Unit: nanoseconds, in whole milliseconds as they travel.
    """
    return milliseconds((3 * interval + interval // 4) // 1_000_000)


class Preempt(Enum):
    """When a better agent takes a group from a healthy master, always by planned handover."""

    NEVER = "never"
    AFTER = "after"
    IMMEDIATELY = "immediately"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """Something that the operator wants done when something has happened."""

    command: tuple[str, ...] = ()
    """Program and arguments; empty where ``url`` is given."""
    url: str = ""
    """Of a webhook, which gets the facts by POST as JSON."""
    timeout: DurationNs = seconds(10)
    retries: int = 2
    user: str | None = None
    """Who runs the command; None: the agent's own user, who must not be root."""


class OnFail(Enum):
    """What a new master does when its ``before_claim`` has failed or has taken too long."""

    CLAIM = "claim"
    GIVE_WAY = "give_way"
    """It steps down for a while, so that another agent may have more luck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeClaim:
    """What a new master waits for before it claims the addresses."""

    command: tuple[str, ...]
    timeout: DurationNs = seconds(2)
    user: str | None = None
    """As in :class:`HookSettings`."""
    on_fail: OnFail = OnFail.CLAIM

    @property
    def hook(self) -> HookSettings:
        """What runs; never a second time, for nobody would wait for that."""
        return HookSettings(command=self.command, timeout=self.timeout, retries=0, user=self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupHooks:
    """What runs when the role of this agent in a group has changed."""

    master: HookSettings | None = None
    backup: HookSettings | None = None
    fault: HookSettings | None = None
    stop: HookSettings | None = None
    """The agent ends, or has left the group."""
    any: HookSettings | None = None
    """Each of these, beside the one of its own."""
    before_claim: BeforeClaim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """A set of virtual addresses that move together."""

    name: str
    priority: Priority
    interface: str
    addresses: tuple[IPInterface, ...]
    preempt: Preempt = Preempt.AFTER
    preempt_after: DurationNs = seconds(5)
    """Used with ``Preempt.AFTER`` only."""
    hooks: GroupHooks = GroupHooks()
    checks: tuple[CheckSettings, ...] = ()
    """What this agent must be able to do to be a good master; each name once."""

    @property
    def id(self) -> GroupId:
        return group_id(self.name)


class FenceLevel(Enum):
    """What keeps an address silent when the agent dies, hangs or is stopped; the best first."""

    BPF = "bpf"
    """A program in the packet path with a deadline: instant at death, exact at a hang."""
    NFT = "nft"
    """nftables rules: instant at death, to the timer's tick at a hang; others can flush them."""
    LIFETIME = "lifetime"
    """The address expires by itself, after whole seconds."""


class When(Enum):
    """The role in which a backend server is wanted."""

    ALWAYS = "always"
    MASTER = "master"
    BACKUP = "backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One line of a HAProxy backend, and the condition under which it is wanted."""

    name: str
    address: IPAddress
    port: int
    weight: int = 100
    """0..256, HAProxy's own range."""
    check: bool = True
    """Whether HAProxy health-checks the server."""
    when: When = When.ALWAYS
    group: GroupId | None = None
    """The group whose role ``when`` means; always set when ``when`` is not ALWAYS."""
    of: str | None = None
    """Only while the peer of this node name is alive."""


class Policy(Enum):
    """How the weight of an app node's server follows from what the node says."""

    STATIC = "static"
    """As the node's file has it."""
    WEIGHTED = "weighted"
    """Less, the busier the node is."""
    LEAST_LOAD = "least-load"
    """The least busy nodes get nearly all."""
    LOWEST_ID = "lowest-id"
    """The lowest living node gets all: by name, numbers in it counted as numbers."""


class WhenEmpty(Enum):
    """What becomes of a backend whose last app node is gone."""

    KEEP = "keep"
    """The last servers stay, for HAProxy's own health checks to judge."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServersSettings:
    """Which app nodes are servers of a backend, and how much each gets."""

    service: str
    policy: Policy = Policy.WEIGHTED
    when_empty: WhenEmpty = WhenEmpty.KEEP
    check: bool = True
    """Whether HAProxy health-checks them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """The servers of one HAProxy backend; haagent owns the whole list."""

    name: str
    servers: tuple[ServerSettings, ...]
    nodes: NodeServersSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeClassSettings:
    """The pace of a class of app nodes, and what is done when one dies or returns."""

    name: str = "default"
    interval: DurationNs = seconds(1)
    """T, dictated to the nodes."""
    jitter: DurationNs = milliseconds(100)
    """J: each heartbeat is up to this much early or late, by chance."""
    timeout: DurationNs = milliseconds(3100)
    """Silence after which a node is dead: (k+1)T + J (protocol.md 7.1), k = 2."""
    rise: int = 2
    """Heartbeats after which a dead node is back."""
    slow_start: DurationNs = seconds(10)
    """In which the weight of one that is back grows to what it should be."""
    on_dead: HookSettings | None = None
    on_back: HookSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesSettings:
    """How app nodes are heard."""

    port: int = 6941
    """Of their own, so that no fleet crowds out the peers."""
    interfaces: tuple[str, ...] = ()
    """Where they are heard; empty: on those of the heartbeat paths."""
    classes: tuple[NodeClassSettings, ...] = (NodeClassSettings(),)
    """The first is ``default``, for nodes that name no class or an unknown one."""


CHECKED = "{file}"
"""In the command that checks a file of HAProxy, it stands for the file that is being checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxyFileSettings:
    """A configuration file of HAProxy that has the servers too, and so survives its restart."""

    path: str
    template: str | None = None
    """What the file is made from; without one only its marked sections are rewritten."""
    check: tuple[str, ...] = ("haproxy", "-c", "-f", CHECKED)
    """Ends with 0 when HAProxy would take the file."""
    master_socket: str | None = None
    """Of the HAProxy that is to reload the file."""
    unit: str | None = None
    """Of systemd, instead.  With neither, HAProxy takes the file at its next start or reload."""

    @property
    def reloads(self) -> bool:
        return bool(self.master_socket or self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxySettings:
    """The local HAProxy: its Runtime API and the backends that haagent owns."""

    socket: str
    backends: tuple[BackendSettings, ...]
    file: HAProxyFileSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything one agent needs to know."""

    node: str
    cluster: str
    heartbeat: HeartbeatSettings
    groups: tuple[GroupSettings, ...]
    haproxy: HAProxySettings | None = None
    nodes: NodesSettings | None = None
    """None when no backend has app nodes."""
    fence: FenceLevel = FenceLevel.LIFETIME
    """The least level of the fence that will do."""

    @property
    def node_id(self) -> NodeId:
        return node_id(self.node)
