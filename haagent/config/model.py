"""The shape of the file: which keys there are, which must be given, what each may hold.

The schema is closed.  A key that is left out stays out of ``model_fields_set``, so the
defaults of ``haagent.core.settings`` apply and are written there alone.

What this module does not do: compare one value with another (``haagent.config.checks``).
"""

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from haagent.config import addresses, values
from haagent.core import actions
from haagent.core.checks import Consequence
from haagent.core.notices import Rate
from haagent.core.settings import (
    FenceLevel,
    IPAddress,
    IPInterface,
    OnFail,
    Policy,
    When,
    WhenEmpty,
)
from haagent.core.units import DurationNs, milliseconds, seconds

BUS_PORT = 6943
"""Unless the file has another: the next after those of agents, of app nodes and of the examples."""

Name: TypeAlias = Annotated[str, PlainValidator(values.name)]
Text: TypeAlias = Annotated[str, PlainValidator(values.text)]
HAProxyName: TypeAlias = Annotated[str, PlainValidator(values.haproxy_name)]
Interface: TypeAlias = Annotated[str, PlainValidator(values.interface)]
FilePath: TypeAlias = Annotated[str, PlainValidator(values.path)]
SocketPath: TypeAlias = Annotated[str, PlainValidator(values.socket_path)]
Unit: TypeAlias = Annotated[str, PlainValidator(values.unit)]
Priority: TypeAlias = Annotated[int, PlainValidator(values.whole(1, 254))]
Port: TypeAlias = Annotated[int, PlainValidator(values.whole(1, 65_535))]
Weight: TypeAlias = Annotated[int, PlainValidator(values.whole(0, 256))]
Truth: TypeAlias = Annotated[bool, PlainValidator(values.truth)]
Role: TypeAlias = Annotated[When, PlainValidator(values.choice(When))]
Profile: TypeAlias = Annotated[values.Profile, PlainValidator(values.choice(values.Profile))]
Level: TypeAlias = Annotated[FenceLevel, PlainValidator(values.choice(FenceLevel))]
VirtualAddress: TypeAlias = Annotated[IPInterface, PlainValidator(addresses.virtual_address)]
HostAddress: TypeAlias = Annotated[IPAddress, PlainValidator(addresses.host)]
MulticastGroup: TypeAlias = Annotated[IPAddress, PlainValidator(addresses.multicast_group)]
Preemption: TypeAlias = Annotated[values.Preemption, PlainValidator(values.preemption)]
Endpoint: TypeAlias = Annotated[addresses.Endpoint, PlainValidator(addresses.endpoint)]
Listener: TypeAlias = Annotated[addresses.Endpoint, PlainValidator(addresses.listener)]
Interval: TypeAlias = Annotated[
    DurationNs, PlainValidator(values.duration(milliseconds(10), seconds(4)))
]
"""At most 4 s: a backup's timeout of 15 intervals travels in 16 bits of milliseconds."""
CHECK_INTERVALS = values.duration(milliseconds(100), seconds(3600))
CHECK_TIMEOUTS = values.duration(milliseconds(10), seconds(60))
CheckInterval: TypeAlias = Annotated[DurationNs, PlainValidator(CHECK_INTERVALS)]
CheckTimeout: TypeAlias = Annotated[DurationNs, PlainValidator(CHECK_TIMEOUTS)]
Count: TypeAlias = Annotated[int, PlainValidator(values.whole(1, 100))]
Url: TypeAlias = Annotated[str, PlainValidator(addresses.url)]
Status: TypeAlias = Annotated[tuple[int, int], PlainValidator(values.http_status)]
HostName: TypeAlias = Annotated[str, PlainValidator(values.host_name)]
ProcessName: TypeAlias = Annotated[str, PlainValidator(values.process_name)]
WhenFailing: TypeAlias = Annotated[Consequence, PlainValidator(values.choice(Consequence))]
KindPattern: TypeAlias = Annotated[str, PlainValidator(values.kind_pattern)]
Severity: TypeAlias = Annotated[actions.Severity, PlainValidator(values.severity)]
Limit: TypeAlias = Annotated[Rate, PlainValidator(values.rate)]
Word: TypeAlias = Annotated[str, PlainValidator(values.word)]
WebAddress: TypeAlias = Annotated[str, PlainValidator(values.web_address)]
HookTimeout: TypeAlias = Annotated[
    DurationNs, PlainValidator(values.duration(milliseconds(100), seconds(600)))
]
Retries: TypeAlias = Annotated[int, PlainValidator(values.whole(0, 10))]
OnFailure: TypeAlias = Annotated[OnFail, PlainValidator(values.choice(OnFail))]
NODE_INTERVALS = values.duration(milliseconds(100), seconds(20))
"""Up to 20 s, so that a fleet that has to be slowed down has room in 16 bits of milliseconds."""
JITTERS = values.duration(milliseconds(0), seconds(10))
TIMEOUTS = values.duration(milliseconds(200), seconds(600))
NodeInterval: TypeAlias = Annotated[DurationNs, PlainValidator(NODE_INTERVALS)]
Jitter: TypeAlias = Annotated[DurationNs, PlainValidator(JITTERS)]
NodeTimeout: TypeAlias = Annotated[DurationNs, PlainValidator(TIMEOUTS)]
SlowStart: TypeAlias = Annotated[
    DurationNs, PlainValidator(values.duration(milliseconds(0), seconds(3600)))
]
NodeProfile: TypeAlias = Annotated[
    values.NodeProfile, PlainValidator(values.choice(values.NodeProfile))
]
NodePolicy: TypeAlias = Annotated[Policy, PlainValidator(values.choice(Policy))]
Emptiness: TypeAlias = Annotated[WhenEmpty, PlainValidator(values.choice(WhenEmpty))]
Filled = BeforeValidator(values.filled)
"""Not pydantic's own minimal length: it would hide what is wrong with a single entry."""


class Section(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def written(self) -> dict[str, Any]:
        """Return the keys that the file has, so that defaults are those of the settings."""
        return {key: getattr(self, key) for key in self.model_fields_set}


class PathSection(Section):
    interface: Interface
    peers: Annotated[tuple[HostAddress, ...], Filled] | None = None
    group: MulticastGroup | None = None
    reference: HostAddress | None = None


class HeartbeatSection(Section):
    profile: Profile = values.Profile.LAN
    interval: Interval | None = None
    port: Port | None = None
    paths: Annotated[tuple[PathSection, ...], Filled]


class HookSection(Section):
    command: Annotated[tuple[Word, ...], Filled] | None = None
    url: WebAddress | None = None
    timeout: HookTimeout | None = None
    retries: Retries | None = None
    user: Text | None = None


class BeforeClaimSection(Section):
    command: Annotated[tuple[Word, ...], Filled]
    timeout: HookTimeout | None = None
    user: Text | None = None
    on_fail: OnFailure | None = None


Hook: TypeAlias = Annotated[HookSection, BeforeValidator(values.hook)]
BeforeClaim: TypeAlias = Annotated[BeforeClaimSection, BeforeValidator(values.hook)]


class HooksSection(Section):
    master: Hook | None = None
    backup: Hook | None = None
    fault: Hook | None = None
    stop: Hook | None = None
    any: Hook | None = None
    before_claim: BeforeClaim | None = None


class CheckSection(Section):
    haproxy: SocketPath | None = None
    tcp: Endpoint | None = None
    http: Url | None = None
    ping: HostAddress | None = None
    process: ProcessName | None = None
    pidfile: FilePath | None = None
    file: FilePath | None = None
    exec: Annotated[tuple[Word, ...], Filled] | None = None
    status: Status | None = None
    host: HostName | None = None
    verify: Truth | None = None
    user: Text | None = None
    interval: CheckInterval | None = None
    timeout: CheckTimeout | None = None
    rise: Count | None = None
    fall: Count | None = None
    on_fail: WhenFailing | None = None


class GroupSection(Section):
    priority: Priority
    preempt: Preemption | None = None
    interface: Interface
    addresses: Annotated[tuple[VirtualAddress, ...], Filled]
    checks: Annotated[dict[Name, CheckSection], Filled] | None = None
    hooks: HooksSection | None = None


class ServerSection(Section):
    name: HAProxyName
    address: Endpoint
    weight: Weight | None = None
    check: Truth | None = None
    when: Role | None = None
    group: Text | None = None
    of: Name | None = None


class NodeServersSection(Section):
    service: Name
    policy: NodePolicy | None = None
    when_empty: Emptiness | None = None
    check: Truth | None = None


class BackendSection(Section):
    servers: Annotated[tuple[ServerSection, ...], Filled] | None = None
    nodes: NodeServersSection | None = None


class ReloadSection(Section):
    master_socket: SocketPath | None = None
    systemd: Unit | None = None


class HAProxyFileSection(Section):
    path: FilePath
    template: FilePath | None = None
    check: Annotated[tuple[Word, ...], Filled] | None = None
    reload: ReloadSection | None = None


class HAProxySection(Section):
    socket: SocketPath
    file: HAProxyFileSection | None = None
    backends: Annotated[dict[HAProxyName, BackendSection], Filled]


class NodeClassSection(Section):
    profile: NodeProfile | None = None
    interval: NodeInterval | None = None
    jitter: Jitter | None = None
    timeout: NodeTimeout | None = None
    rise: Count | None = None
    slow_start: SlowStart | None = None
    on_dead: Hook | None = None
    on_back: Hook | None = None


class NodesSection(Section):
    port: Port | None = None
    interfaces: Annotated[tuple[Interface, ...], Filled] | None = None
    classes: Annotated[dict[Name, NodeClassSection], Filled] | None = None


class FenceSection(Section):
    require: Level


class NotificationSection(Section):
    urls_file: FilePath
    kinds: Annotated[tuple[KindPattern, ...], Filled] | None = None
    severity: Severity | None = None
    limit: Limit | None = None


class LoginSection(Section):
    user: Name
    password_file: FilePath


class HttpSection(Section):
    listen: Annotated[tuple[Listener, ...], Filled]
    login: LoginSection | None = None


class BusSection(Section):
    enabled: Truth = True
    port: Port = BUS_PORT


class File(Section):
    node: Name | None = None
    cluster: Name
    key_file: FilePath
    state_dir: FilePath = "/var/lib/haagent"
    control_socket: SocketPath = "/run/haagent/control.sock"
    heartbeat: HeartbeatSection
    groups: Annotated[dict[Name, GroupSection], Filled]
    haproxy: HAProxySection | None = None
    nodes: NodesSection | None = None
    fence: FenceSection | None = None
    notifications: Annotated[tuple[NotificationSection, ...], Filled] | None = None
    http: HttpSection | None = None
    bus: BusSection = BusSection()
