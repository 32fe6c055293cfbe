"""What one app node needs to know to send its heartbeats, validated and frozen.

``haagent.config`` makes these from the node's file.  What an agent needs to know of app nodes
is ``NodesSettings`` in ``haagent.core.settings``.
"""

from dataclasses import dataclass
from enum import Enum

from haagent.core.identity import NodeId, node_id
from haagent.core.settings import MULTICAST_IPV4, IPAddress
from haagent.core.units import DurationNs, seconds

DEFAULT_NODE_PORT = 6941
"""Where agents hear app nodes."""

DEFAULT_CHECK_INTERVAL = seconds(2)
MOST_CHECK_TIMEOUT = seconds(1)
"""Where the file says nothing, and half of the interval when that is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePathSettings:
    """One interface on which every heartbeat leaves, by multicast or to each agent."""

    interface: str
    group: IPAddress = MULTICAST_IPV4
    """Multicast group; its family is the family of the path.  Unused with ``agents``."""
    agents: tuple[IPAddress, ...] = ()
    """Unicast instead of multicast when not empty; all of one family."""

    @property
    def targets(self) -> tuple[IPAddress, ...]:
        """Where each heartbeat goes."""
        return self.agents or (self.group,)


class Probe(Enum):
    """How a service is asked whether it is well."""

    TCP = "tcp"
    """Somebody accepts a connection: address, port."""
    HTTP = "http"
    """A web server answers with 200..399: URL."""
    EXEC = "exec"
    """A program ends with exit code 0: its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCheckSettings:
    """The node's own check of one service."""

    probe: Probe
    target: tuple[str, ...]
    """What :class:`Probe` says of each."""
    user: str | None = None
    """Who runs the program; None: who runs the node, who must not be root."""
    interval: DurationNs = DEFAULT_CHECK_INTERVAL
    timeout: DurationNs = MOST_CHECK_TIMEOUT
    """Shorter than the interval."""
    rise: int = 2
    """Checks in a row that must pass before an unhealthy service is healthy."""
    fall: int = 2
    """Checks in a row that must fail before a healthy service is unhealthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What the node serves."""

    name: str
    port: int
    weight: int = 100
    """0..256, HAProxy's own range."""
    check: ServiceCheckSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Everything one app node needs to know."""

    node: str
    cluster: str
    paths: tuple[NodePathSettings, ...]
    services: tuple[ServiceSettings, ...]
    node_class: str = "default"
    address: IPAddress | None = None
    """Where the services listen; None: the node's own address on the first path."""
    interval: DurationNs = seconds(1)
    """T until an agent dictates another."""
    port: int = DEFAULT_NODE_PORT

    @property
    def node_id(self) -> NodeId:
        return node_id(self.node)
