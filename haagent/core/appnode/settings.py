"""What one app node needs to know to send its heartbeats, validated and frozen.

``haagent.config`` makes these from the node's file.  What an agent needs to know of app nodes
is ``NodesSettings`` in ``haagent.core.settings``.
"""

from dataclasses import dataclass

from haagent.core.checks import CheckSettings
from haagent.core.identity import NodeId, node_id
from haagent.core.settings import MULTICAST_IPV4, IPAddress
from haagent.core.units import DurationNs, seconds

DEFAULT_NODE_PORT = 6941
"""Where agents hear app nodes."""

DEFAULT_CHECK_INTERVAL = seconds(2)
"""Half as often as an agent looks after itself."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What the node serves."""

    name: str
    port: int
    weight: int = 100
    """0..256, HAProxy's own range."""
    check: CheckSettings | None = None
    """Of the service's name; what it means for groups is not used."""


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
