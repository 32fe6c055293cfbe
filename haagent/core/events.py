"""All that can happen to an agent; the only input of the core besides time."""

from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.actions import Action, Backend, RunHook
from haagent.core.checks import CheckSettings
from haagent.core.identity import GroupId, NodeId
from haagent.core.messages import Datagram, DiscardReason, NodeHeartbeat
from haagent.core.settings import AgentSettings, IPAddress
from haagent.core.units import DurationNs, MonoNs, WallNs


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: the deadline came, or somebody thought so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramReceived:
    """An authenticated, decoded datagram."""

    path: int
    """Index of our own path that it came on."""
    source: IPAddress
    received_at: MonoNs
    datagram: Datagram


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHeard:
    """An authenticated, decoded heartbeat of an app node."""

    source: IPAddress
    port: int
    """Where an answer goes."""
    way: int
    """Which interface and address of ours it came by; an answer goes back by the same."""
    received_at: MonoNs
    heartbeat: NodeHeartbeat


@dataclass(frozen=True, slots=True)
class NodesHeard:
    """What app nodes have said of late, oldest first: many in one step, for there are many."""

    heard: tuple[NodeHeard, ...]
    missed: bool = False
    """Whether more may have been said, for which the kernel had no room: then nobody's silence
    proves anything."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """One of our own paths began or ceased to carry heartbeats."""

    path: int
    trouble: str
    """What is wrong, beginning with the interface; empty when all is well."""
    carries: bool
    """Whether anything that we say there leaves this host."""


@dataclass(frozen=True, slots=True)
class StrangerHeard:
    """``source`` goes on sending datagrams that cannot be of this cluster, or not genuine."""

    source: IPAddress
    reason: DiscardReason


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """The agent at ``source`` has closed its connection, and its host refuses another one."""

    path: int
    source: IPAddress


@dataclass(frozen=True, slots=True)
class HostAnswered:
    """The kernel at ``source`` has answered our question, whatever its agent does."""

    path: int
    """Index of our own path that it answered on."""
    source: IPAddress
    protocol: str
    """``ARP``, ``NDP`` or ``ICMP``."""


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """An interface came up (exists, is up, has carrier) or stopped being so."""

    interface: str
    up: bool


@dataclass(frozen=True, slots=True)
class AddressRemoved:
    """Somebody else took ``address`` off ``interface``."""

    interface: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class ForeignAddressSeen:
    """Another host showed ``address`` as its own in ARP or neighbour discovery."""

    interface: str
    address: IPAddress
    mac: str
    """Lower case, colons."""


@dataclass(frozen=True, slots=True)
class ActionDone:
    """An action whose end matters was performed."""

    action: Action


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """An action could not be performed; the text is for people."""

    action: Action
    errno: int
    """0 when the system gave none."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEnded:
    """A hook has ended, well or not; one that has failed may be tried again and end again."""

    action: RunHook
    ok: bool
    text: str
    """What became of it, in one line."""
    took: DurationNs


@dataclass(frozen=True, slots=True)
class NotificationEnded:
    """A notification was sent, or not; or it was looked whether one could be."""

    urls_file: str
    trouble: str
    """What is wrong, in one line; empty when nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsKept:
    """What has changed with the keeping of records on the disk."""

    trouble: str
    """Why they cannot be written; empty when they are."""
    lost: int
    """How many were never written, since this was told last."""
    damage: str
    """What was wrong with the file and what was done about it; empty when nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendsObserved:
    """What the local HAProxy was seen to have, in the backends that we own."""

    reachable: bool
    backends: tuple[Backend, ...]
    trouble: str
    """Empty when HAProxy has what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReported:
    """A check is now taken for passing or for failing, by its ``rise`` and ``fall``."""

    group: GroupId
    check: CheckSettings
    passed: bool
    text: str
    """What the last attempt found, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettled:
    """What became of the configuration file of HAProxy, after an attempt at it."""

    trouble: str
    """Why it has not what is wanted, and what was done about that; empty when it has."""
    news: str
    """What was done; empty when nothing had to be."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The operator wants the agent to end: hand over first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """The operator has the agent kept out of it, or the masters kept as they are."""

    maintenance: bool
    """It hands over what it is master of as soon as somebody can take it, and takes nothing."""
    paused: bool
    """Nobody here becomes master but by a planned handover, whatever happens."""
    until: WallNs | None = None
    """When the maintenance ends by itself; by the wall clock, because it outlives the process."""


@dataclass(frozen=True, slots=True)
class FailoverAsked:
    """The operator wants the group handed over to ``to``, which keeps it."""

    group: GroupId
    to: NodeId


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """The agent is to end, and another process is to go on with its masterships at once."""


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """A new configuration is in force: other groups, or other servers in HAProxy.

    Node, cluster, heartbeat and HAProxy's socket are what they were, and no address goes from
    one group to another; changing those takes a restart.
    """

    settings: AgentSettings


@dataclass(frozen=True, slots=True)
class SettingsRejected:
    """A new configuration was not taken; the old one stays in force."""

    text: str


Event: TypeAlias = (
    Tick
    | DatagramReceived
    | NodesHeard
    | PathChanged
    | StrangerHeard
    | ProcessEnded
    | HostAnswered
    | LinkChanged
    | AddressRemoved
    | ForeignAddressSeen
    | ActionDone
    | ActionFailed
    | HookEnded
    | NotificationEnded
    | RecordsKept
    | BackendsObserved
    | CheckReported
    | FileSettled
    | StopRequested
    | Steered
    | FailoverAsked
    | RestartRequested
    | SettingsChanged
    | SettingsRejected
)
