"""What the metrics and the health of one agent are made from: few numbers, however large its lists.

The agent makes a :class:`Facts` (``haagent.observe.collect``), the server's process reads it.
:func:`encode` and :func:`decode` carry it from one to the other.

What this module does not do: name a metric (``haagent.observe.metrics``).
"""

import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFacts:
    """How often the agent has come into a state for a reason; both as words."""

    state: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """The agent in one group."""

    name: str
    state: str
    reason_text: str
    age_s: float
    """How long in this state."""
    term: int
    priority: int
    """Effective."""
    base_priority: int
    """As configured."""
    health: int
    addresses: int
    held: int
    """Addresses that the kernel has confirmed."""
    open: int
    """Addresses that the fence lets be heard."""
    changes: tuple[ChangeFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFacts:
    """A peer on one path."""

    interface: str
    family: str
    """``ipv4`` or ``ipv6``."""
    heard_age_s: float
    loss_ratio: float | None
    """None while it is not known, as the next one."""
    round_trip_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """Another agent."""

    name: str
    alive: bool
    hears_us: bool
    heard_age_s: float
    paths: tuple[PathFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFacts:
    """How many servers a backend is to have, and has."""

    name: str
    wanted: int
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What HAProxy counts of one server."""

    backend: str
    name: str
    up: bool
    """Whether it gets requests."""
    sessions: int
    """Open now."""
    sessions_total: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxyFacts:
    """The local HAProxy."""

    reachable: bool
    in_sync: bool
    """Whether it has what is wanted."""
    backends: tuple[BackendFacts, ...]
    servers: tuple[ServerFacts, ...]
    """The first of each backend, of those of which HAProxy has told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """How many app nodes have a service, by how they stand."""

    name: str
    serving: int
    unhealthy: int
    held: int
    dead: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFacts:
    """How many alarms of a kind are on."""

    kind: str
    severity: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramFacts:
    """How many datagrams of a type went out of an interface, and came in as genuine."""

    interface: str
    type: str
    sent: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatenessFacts:
    """How late the loop woke when something was due."""

    bounds_s: tuple[float, ...]
    """Upper ends of all buckets but the last, which has none."""
    counts: tuple[int, ...]
    """Of each bucket alone."""
    sum_s: float
    worst_s: float
    """Of the last minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFacts:
    """Whether the file was accepted when it was read last, and when one was."""

    accepted: bool
    accepted_at_s: float
    """Since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """The process of the agent."""

    cpu_s: float
    memory_bytes: int
    """Resident."""
    started_at_s: float
    """Since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One agent at one instant."""

    version: str
    node: str
    cluster: str
    interval_s: float
    """Of the heartbeats of a master."""
    fence: str
    """The level in force."""
    groups: tuple[GroupFacts, ...]
    peers: tuple[PeerFacts, ...]
    haproxy: HAProxyFacts | None
    services: tuple[ServiceFacts, ...]
    """Of app nodes."""
    alarms: tuple[AlarmFacts, ...]
    datagrams: tuple[DatagramFacts, ...]
    discards: dict[str, int]
    """Datagrams that changed nothing, by reason."""
    lateness: LatenessFacts
    configuration: ConfigurationFacts
    process: ProcessFacts


def encode(facts: Facts) -> bytes:
    """Return ``facts`` as JSON."""
    return json.dumps(asdict(facts)).encode()


def decode(payload: bytes) -> Facts:
    """Return what :func:`encode` was given."""
    facts = _made(Facts, json.loads(payload))
    assert isinstance(facts, Facts)
    return facts


def _made(kind: Any, raw: Any) -> Any:
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        parts = {each.name: _made(hints[each.name], raw[each.name]) for each in fields(kind)}
        return kind(**parts)  # type: ignore[operator]
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        return tuple(_made(arguments[0], each) for each in raw)
    if NoneType in arguments:
        return None if raw is None else _made(arguments[0], raw)
    return raw
