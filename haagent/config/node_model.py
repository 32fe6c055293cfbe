"""The shape of an app node's file, as ``haagent.config.model`` is that of an agent's.

What this module does not do: compare one value with another (``haagent.config.node_rules``).
"""

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator

from haagent.config import values
from haagent.config.model import (
    CheckInterval,
    CheckTimeout,
    Count,
    Endpoint,
    FilePath,
    Filled,
    HostAddress,
    Interface,
    MulticastGroup,
    Name,
    Port,
    Section,
    Text,
    Url,
    Weight,
)
from haagent.core.units import DurationNs, milliseconds, seconds

MOST_SERVICES = 14
"""So many fit into one heartbeat however long their names are."""

Interval: TypeAlias = Annotated[
    DurationNs, PlainValidator(values.duration(milliseconds(100), seconds(60)))
]


class NodePathSection(Section):
    interface: Interface
    group: MulticastGroup | None = None
    agents: Annotated[tuple[HostAddress, ...], Filled] | None = None


class NodeHeartbeatSection(Section):
    interval: Interval | None = None
    port: Port | None = None
    paths: Annotated[tuple[NodePathSection, ...], Filled]


class ServiceCheckSection(Section):
    tcp: Endpoint | None = None
    http: Url | None = None
    exec: Annotated[tuple[Text, ...], Filled] | None = None
    user: Text | None = None
    interval: CheckInterval | None = None
    timeout: CheckTimeout | None = None
    rise: Count | None = None
    fall: Count | None = None


class ServiceSection(Section):
    port: Port
    weight: Weight | None = None
    check: ServiceCheckSection | None = None


class NodeFile(Section):
    node: Name | None = None
    cluster: Name
    key_file: FilePath
    class_: Annotated[Name | None, Field(alias="class")] = None
    address: HostAddress | None = None
    heartbeat: NodeHeartbeatSection
    services: Annotated[
        dict[Name, ServiceSection], BeforeValidator(values.at_most(MOST_SERVICES)), Filled
    ]
