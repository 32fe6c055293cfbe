from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: str
    def __init__(self, group: _Optional[str] = ...) -> None: ...

class ExplainReply(_message.Message):
    __slots__ = ("time", "node", "group", "masters", "text", "records", "lost_cause", "ranks", "trouble")
    TIME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MASTERS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOST_CAUSE_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    time: str
    node: str
    group: str
    masters: _containers.RepeatedScalarFieldContainer[str]
    text: str
    records: _containers.RepeatedCompositeFieldContainer[Record]
    lost_cause: int
    ranks: _containers.RepeatedCompositeFieldContainer[Candidate]
    trouble: str
    def __init__(self, time: _Optional[str] = ..., node: _Optional[str] = ..., group: _Optional[str] = ..., masters: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., lost_cause: _Optional[int] = ..., ranks: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., trouble: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("agent", "base_priority", "priority", "demoted", "state", "answer", "not_electable")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    BASE_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEMOTED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    NOT_ELECTABLE_FIELD_NUMBER: _ClassVar[int]
    agent: str
    base_priority: int
    priority: int
    demoted: bool
    state: str
    answer: str
    not_electable: str
    def __init__(self, agent: _Optional[str] = ..., base_priority: _Optional[int] = ..., priority: _Optional[int] = ..., demoted: _Optional[bool] = ..., state: _Optional[str] = ..., answer: _Optional[str] = ..., not_electable: _Optional[str] = ...) -> None: ...

class Seen(_message.Message):
    __slots__ = ("group", "term")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    group: str
    term: int
    def __init__(self, group: _Optional[str] = ..., term: _Optional[int] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ("dry_run", "seen")
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    seen: _containers.RepeatedCompositeFieldContainer[Seen]
    def __init__(self, dry_run: _Optional[bool] = ..., seen: _Optional[_Iterable[_Union[Seen, _Mapping]]] = ...) -> None: ...

class ReloadReply(_message.Message):
    __slots__ = ("outcome", "lines")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, outcome: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("seen", "id", "force", "for_ms")
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    seen: _containers.RepeatedCompositeFieldContainer[Seen]
    id: str
    force: bool
    for_ms: int
    def __init__(self, seen: _Optional[_Iterable[_Union[Seen, _Mapping]]] = ..., id: _Optional[str] = ..., force: _Optional[bool] = ..., for_ms: _Optional[int] = ...) -> None: ...

class UndrainRequest(_message.Message):
    __slots__ = ("seen", "id")
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    seen: _containers.RepeatedCompositeFieldContainer[Seen]
    id: str
    def __init__(self, seen: _Optional[_Iterable[_Union[Seen, _Mapping]]] = ..., id: _Optional[str] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("seen", "id")
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    seen: _containers.RepeatedCompositeFieldContainer[Seen]
    id: str
    def __init__(self, seen: _Optional[_Iterable[_Union[Seen, _Mapping]]] = ..., id: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("seen", "id")
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    seen: _containers.RepeatedCompositeFieldContainer[Seen]
    id: str
    def __init__(self, seen: _Optional[_Iterable[_Union[Seen, _Mapping]]] = ..., id: _Optional[str] = ...) -> None: ...

class SteerReply(_message.Message):
    __slots__ = ("outcome", "lines", "until")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    until: str
    def __init__(self, outcome: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ..., until: _Optional[str] = ...) -> None: ...

class FailoverRequest(_message.Message):
    __slots__ = ("group", "to", "force", "seen", "id")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    group: str
    to: str
    force: bool
    seen: _containers.RepeatedCompositeFieldContainer[Seen]
    id: str
    def __init__(self, group: _Optional[str] = ..., to: _Optional[str] = ..., force: _Optional[bool] = ..., seen: _Optional[_Iterable[_Union[Seen, _Mapping]]] = ..., id: _Optional[str] = ...) -> None: ...

class FailoverReply(_message.Message):
    __slots__ = ("outcome", "lines", "to")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    to: str
    def __init__(self, outcome: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ..., to: _Optional[str] = ...) -> None: ...

class HaproxyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HaproxyReply(_message.Message):
    __slots__ = ("configured", "reachable", "trouble", "file", "file_trouble", "servers")
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    FILE_TROUBLE_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    configured: bool
    reachable: bool
    trouble: str
    file: str
    file_trouble: str
    servers: _containers.RepeatedCompositeFieldContainer[HaproxyServer]
    def __init__(self, configured: _Optional[bool] = ..., reachable: _Optional[bool] = ..., trouble: _Optional[str] = ..., file: _Optional[str] = ..., file_trouble: _Optional[str] = ..., servers: _Optional[_Iterable[_Union[HaproxyServer, _Mapping]]] = ...) -> None: ...

class HaproxyServer(_message.Message):
    __slots__ = ("backend", "name", "source", "wanted", "actual", "state", "status", "difference")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    backend: str
    name: str
    source: str
    wanted: Server
    actual: Server
    state: str
    status: str
    difference: str
    def __init__(self, backend: _Optional[str] = ..., name: _Optional[str] = ..., source: _Optional[str] = ..., wanted: _Optional[_Union[Server, _Mapping]] = ..., actual: _Optional[_Union[Server, _Mapping]] = ..., state: _Optional[str] = ..., status: _Optional[str] = ..., difference: _Optional[str] = ...) -> None: ...

class DoctorRequest(_message.Message):
    __slots__ = ("seconds",)
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    def __init__(self, seconds: _Optional[float] = ...) -> None: ...

class DoctorReply(_message.Message):
    __slots__ = ("doctor_version", "node", "cluster", "seconds", "findings", "paths", "trouble")
    DOCTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    doctor_version: int
    node: str
    cluster: str
    seconds: float
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    paths: _containers.RepeatedCompositeFieldContainer[PathVisit]
    trouble: str
    def __init__(self, doctor_version: _Optional[int] = ..., node: _Optional[str] = ..., cluster: _Optional[str] = ..., seconds: _Optional[float] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., paths: _Optional[_Iterable[_Union[PathVisit, _Mapping]]] = ..., trouble: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("severity", "kind", "text", "cure")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CURE_FIELD_NUMBER: _ClassVar[int]
    severity: str
    kind: str
    text: str
    cure: str
    def __init__(self, severity: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., cure: _Optional[str] = ...) -> None: ...

class PathVisit(_message.Message):
    __slots__ = ("interface", "local", "heard", "trouble")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    interface: str
    local: str
    heard: _containers.RepeatedCompositeFieldContainer[Voice]
    trouble: str
    def __init__(self, interface: _Optional[str] = ..., local: _Optional[str] = ..., heard: _Optional[_Iterable[_Union[Voice, _Mapping]]] = ..., trouble: _Optional[str] = ...) -> None: ...

class Voice(_message.Message):
    __slots__ = ("name", "node_id", "source", "to_all", "to_us", "let_in_to_all", "let_in_to_us", "asked_all", "answered_all", "asked_one", "answered_one")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TO_ALL_FIELD_NUMBER: _ClassVar[int]
    TO_US_FIELD_NUMBER: _ClassVar[int]
    LET_IN_TO_ALL_FIELD_NUMBER: _ClassVar[int]
    LET_IN_TO_US_FIELD_NUMBER: _ClassVar[int]
    ASKED_ALL_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_ALL_FIELD_NUMBER: _ClassVar[int]
    ASKED_ONE_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_ONE_FIELD_NUMBER: _ClassVar[int]
    name: str
    node_id: str
    source: str
    to_all: int
    to_us: int
    let_in_to_all: int
    let_in_to_us: int
    asked_all: int
    answered_all: int
    asked_one: int
    answered_one: int
    def __init__(self, name: _Optional[str] = ..., node_id: _Optional[str] = ..., source: _Optional[str] = ..., to_all: _Optional[int] = ..., to_us: _Optional[int] = ..., let_in_to_all: _Optional[int] = ..., let_in_to_us: _Optional[int] = ..., asked_all: _Optional[int] = ..., answered_all: _Optional[int] = ..., asked_one: _Optional[int] = ..., answered_one: _Optional[int] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("since_ms", "group", "kinds", "follow", "cluster", "after")
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    since_ms: int
    group: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    follow: bool
    cluster: bool
    after: int
    def __init__(self, since_ms: _Optional[int] = ..., group: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., follow: _Optional[bool] = ..., cluster: _Optional[bool] = ..., after: _Optional[int] = ...) -> None: ...

class EventsReply(_message.Message):
    __slots__ = ("events", "trouble", "node", "more", "missing", "end")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    trouble: str
    node: str
    more: bool
    missing: str
    end: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., trouble: _Optional[str] = ..., node: _Optional[str] = ..., more: _Optional[bool] = ..., missing: _Optional[str] = ..., end: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("node", "boot_id", "record")
    NODE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    node: str
    boot_id: str
    record: Record
    def __init__(self, node: _Optional[str] = ..., boot_id: _Optional[str] = ..., record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("status_version", "time", "node", "node_id", "boot_id", "cluster", "alarms", "groups", "peers", "haproxy", "records", "runtime", "nodes", "hooks")
    STATUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    HAPROXY_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    status_version: int
    time: str
    node: str
    node_id: str
    boot_id: str
    cluster: str
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    haproxy: Haproxy
    records: _containers.RepeatedCompositeFieldContainer[Record]
    runtime: Runtime
    nodes: Nodes
    hooks: _containers.RepeatedCompositeFieldContainer[Hook]
    def __init__(self, status_version: _Optional[int] = ..., time: _Optional[str] = ..., node: _Optional[str] = ..., node_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., cluster: _Optional[str] = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., haproxy: _Optional[_Union[Haproxy, _Mapping]] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., runtime: _Optional[_Union[Runtime, _Mapping]] = ..., nodes: _Optional[_Union[Nodes, _Mapping]] = ..., hooks: _Optional[_Iterable[_Union[Hook, _Mapping]]] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("severity", "kind", "text", "age_ms")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    severity: str
    kind: str
    text: str
    age_ms: int
    def __init__(self, severity: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., age_ms: _Optional[int] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("role", "interface", "addresses", "preempts_in_ms", "checks")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    PREEMPTS_IN_MS_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    role: Role
    interface: str
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    preempts_in_ms: int
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    def __init__(self, role: _Optional[_Union[Role, _Mapping]] = ..., interface: _Optional[str] = ..., addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ..., preempts_in_ms: _Optional[int] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "what", "on_fail", "passed", "age_ms", "runs", "failed", "text", "ended_age_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    ON_FAIL_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    what: str
    on_fail: str
    passed: bool
    age_ms: int
    runs: int
    failed: int
    text: str
    ended_age_ms: int
    def __init__(self, name: _Optional[str] = ..., what: _Optional[str] = ..., on_fail: _Optional[str] = ..., passed: _Optional[bool] = ..., age_ms: _Optional[int] = ..., runs: _Optional[int] = ..., failed: _Optional[int] = ..., text: _Optional[str] = ..., ended_age_ms: _Optional[int] = ...) -> None: ...

class Role(_message.Message):
    __slots__ = ("group", "state", "reason", "reason_text", "age_ms", "priority", "term", "master", "base_priority", "health")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REASON_TEXT_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    MASTER_FIELD_NUMBER: _ClassVar[int]
    BASE_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    group: str
    state: str
    reason: str
    reason_text: str
    age_ms: int
    priority: int
    term: int
    master: str
    base_priority: int
    health: int
    def __init__(self, group: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., reason_text: _Optional[str] = ..., age_ms: _Optional[int] = ..., priority: _Optional[int] = ..., term: _Optional[int] = ..., master: _Optional[str] = ..., base_priority: _Optional[int] = ..., health: _Optional[int] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("address", "held")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    address: str
    held: bool
    def __init__(self, address: _Optional[str] = ..., held: _Optional[bool] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("name", "node_id", "boot_id", "alive", "last_heard_age_ms", "hears_us", "paths", "roles", "bus")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    HEARS_US_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    BUS_FIELD_NUMBER: _ClassVar[int]
    name: str
    node_id: str
    boot_id: str
    alive: bool
    last_heard_age_ms: int
    hears_us: bool
    paths: _containers.RepeatedCompositeFieldContainer[Path]
    roles: _containers.RepeatedCompositeFieldContainer[Role]
    bus: str
    def __init__(self, name: _Optional[str] = ..., node_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., alive: _Optional[bool] = ..., last_heard_age_ms: _Optional[int] = ..., hears_us: _Optional[bool] = ..., paths: _Optional[_Iterable[_Union[Path, _Mapping]]] = ..., roles: _Optional[_Iterable[_Union[Role, _Mapping]]] = ..., bus: _Optional[str] = ...) -> None: ...

class Path(_message.Message):
    __slots__ = ("interface", "source", "last_heard_age_ms", "loss_permille", "round_trip_us")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    LOSS_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_US_FIELD_NUMBER: _ClassVar[int]
    interface: str
    source: str
    last_heard_age_ms: int
    loss_permille: int
    round_trip_us: int
    def __init__(self, interface: _Optional[str] = ..., source: _Optional[str] = ..., last_heard_age_ms: _Optional[int] = ..., loss_permille: _Optional[int] = ..., round_trip_us: _Optional[int] = ...) -> None: ...

class Haproxy(_message.Message):
    __slots__ = ("reachable", "wanted", "seen", "trouble", "file", "file_trouble")
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    FILE_TROUBLE_FIELD_NUMBER: _ClassVar[int]
    reachable: bool
    wanted: _containers.RepeatedCompositeFieldContainer[Backend]
    seen: _containers.RepeatedCompositeFieldContainer[Backend]
    trouble: str
    file: str
    file_trouble: str
    def __init__(self, reachable: _Optional[bool] = ..., wanted: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., seen: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., trouble: _Optional[str] = ..., file: _Optional[str] = ..., file_trouble: _Optional[str] = ...) -> None: ...

class Nodes(_message.Message):
    __slots__ = ("services", "total", "shown")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceCount]
    total: int
    shown: _containers.RepeatedCompositeFieldContainer[AppNode]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceCount, _Mapping]]] = ..., total: _Optional[int] = ..., shown: _Optional[_Iterable[_Union[AppNode, _Mapping]]] = ...) -> None: ...

class ServiceCount(_message.Message):
    __slots__ = ("service", "serving", "unhealthy", "held", "dead", "left")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    service: str
    serving: int
    unhealthy: int
    held: int
    dead: int
    left: int
    def __init__(self, service: _Optional[str] = ..., serving: _Optional[int] = ..., unhealthy: _Optional[int] = ..., held: _Optional[int] = ..., dead: _Optional[int] = ..., left: _Optional[int] = ...) -> None: ...

class AppNode(_message.Message):
    __slots__ = ("name", "node_class", "address", "standing", "age_ms", "last_heard_age_ms", "interval_ms", "busy_permille", "services")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_CLASS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    BUSY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    node_class: str
    address: str
    standing: str
    age_ms: int
    last_heard_age_ms: int
    interval_ms: int
    busy_permille: int
    services: _containers.RepeatedCompositeFieldContainer[NodeService]
    def __init__(self, name: _Optional[str] = ..., node_class: _Optional[str] = ..., address: _Optional[str] = ..., standing: _Optional[str] = ..., age_ms: _Optional[int] = ..., last_heard_age_ms: _Optional[int] = ..., interval_ms: _Optional[int] = ..., busy_permille: _Optional[int] = ..., services: _Optional[_Iterable[_Union[NodeService, _Mapping]]] = ...) -> None: ...

class NodeService(_message.Message):
    __slots__ = ("name", "port", "weight", "healthy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    port: int
    weight: int
    healthy: bool
    def __init__(self, name: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., healthy: _Optional[bool] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("name", "servers", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    servers: _containers.RepeatedCompositeFieldContainer[Server]
    count: int
    def __init__(self, name: _Optional[str] = ..., servers: _Optional[_Iterable[_Union[Server, _Mapping]]] = ..., count: _Optional[int] = ...) -> None: ...

class Server(_message.Message):
    __slots__ = ("name", "address", "port", "weight", "check", "traffic")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    port: int
    weight: int
    check: bool
    traffic: Traffic
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., check: _Optional[bool] = ..., traffic: _Optional[_Union[Traffic, _Mapping]] = ...) -> None: ...

class Traffic(_message.Message):
    __slots__ = ("status", "sessions", "sessions_per_s", "sessions_total", "bytes_in", "bytes_out")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_PER_S_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    status: str
    sessions: int
    sessions_per_s: int
    sessions_total: int
    bytes_in: int
    bytes_out: int
    def __init__(self, status: _Optional[str] = ..., sessions: _Optional[int] = ..., sessions_per_s: _Optional[int] = ..., sessions_total: _Optional[int] = ..., bytes_in: _Optional[int] = ..., bytes_out: _Optional[int] = ...) -> None: ...

class Hook(_message.Message):
    __slots__ = ("queue", "kind", "ok", "text", "ended_age_ms", "took_ms")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    queue: str
    kind: str
    ok: bool
    text: str
    ended_age_ms: int
    took_ms: int
    def __init__(self, queue: _Optional[str] = ..., kind: _Optional[str] = ..., ok: _Optional[bool] = ..., text: _Optional[str] = ..., ended_age_ms: _Optional[int] = ..., took_ms: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("time", "hlc", "lamport", "severity", "kind", "text", "group", "term", "number", "cause", "evidence", "heard")
    TIME_FIELD_NUMBER: _ClassVar[int]
    HLC_FIELD_NUMBER: _ClassVar[int]
    LAMPORT_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    time: str
    hlc: Hlc
    lamport: int
    severity: str
    kind: str
    text: str
    group: str
    term: int
    number: int
    cause: int
    evidence: _containers.RepeatedScalarFieldContainer[str]
    heard: _containers.RepeatedCompositeFieldContainer[HeardOf]
    def __init__(self, time: _Optional[str] = ..., hlc: _Optional[_Union[Hlc, _Mapping]] = ..., lamport: _Optional[int] = ..., severity: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., group: _Optional[str] = ..., term: _Optional[int] = ..., number: _Optional[int] = ..., cause: _Optional[int] = ..., evidence: _Optional[_Iterable[str]] = ..., heard: _Optional[_Iterable[_Union[HeardOf, _Mapping]]] = ...) -> None: ...

class HeardOf(_message.Message):
    __slots__ = ("node", "lamport")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LAMPORT_FIELD_NUMBER: _ClassVar[int]
    node: str
    lamport: int
    def __init__(self, node: _Optional[str] = ..., lamport: _Optional[int] = ...) -> None: ...

class Hlc(_message.Message):
    __slots__ = ("ms", "counter")
    MS_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    ms: int
    counter: int
    def __init__(self, ms: _Optional[int] = ..., counter: _Optional[int] = ...) -> None: ...

class Runtime(_message.Message):
    __slots__ = ("version", "pid", "uptime_ms", "config_file", "loop_lateness_ms", "discards", "fence", "fence_refused")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FILE_FIELD_NUMBER: _ClassVar[int]
    LOOP_LATENESS_MS_FIELD_NUMBER: _ClassVar[int]
    DISCARDS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    FENCE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    version: str
    pid: int
    uptime_ms: int
    config_file: str
    loop_lateness_ms: float
    discards: _containers.RepeatedCompositeFieldContainer[Discards]
    fence: str
    fence_refused: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., pid: _Optional[int] = ..., uptime_ms: _Optional[int] = ..., config_file: _Optional[str] = ..., loop_lateness_ms: _Optional[float] = ..., discards: _Optional[_Iterable[_Union[Discards, _Mapping]]] = ..., fence: _Optional[str] = ..., fence_refused: _Optional[_Iterable[str]] = ...) -> None: ...

class Discards(_message.Message):
    __slots__ = ("source", "reason", "count")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    source: str
    reason: str
    count: int
    def __init__(self, source: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class BusFrame(_message.Message):
    __slots__ = ("hello", "question", "answer", "more", "cancel")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    hello: BusHello
    question: BusQuestion
    answer: BusAnswer
    more: int
    cancel: int
    def __init__(self, hello: _Optional[_Union[BusHello, _Mapping]] = ..., question: _Optional[_Union[BusQuestion, _Mapping]] = ..., answer: _Optional[_Union[BusAnswer, _Mapping]] = ..., more: _Optional[int] = ..., cancel: _Optional[int] = ...) -> None: ...

class BusHello(_message.Message):
    __slots__ = ("cluster", "node", "node_id", "boot_id", "epoch")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    node_id: str
    boot_id: str
    epoch: int
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ..., node_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class BusQuestion(_message.Message):
    __slots__ = ("number", "events")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    events: EventsRequest
    def __init__(self, number: _Optional[int] = ..., events: _Optional[_Union[EventsRequest, _Mapping]] = ...) -> None: ...

class BusAnswer(_message.Message):
    __slots__ = ("number", "events", "last", "refused")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    number: int
    events: EventsReply
    last: bool
    refused: str
    def __init__(self, number: _Optional[int] = ..., events: _Optional[_Union[EventsReply, _Mapping]] = ..., last: _Optional[bool] = ..., refused: _Optional[str] = ...) -> None: ...
