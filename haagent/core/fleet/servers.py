"""The app nodes that are servers of one HAProxy backend, and the weight of each.

:meth:`NodeServers.consider` takes in one node that has changed, so that a fleet of ten thousand
costs nothing while it is as it was.  Weights follow the policy, and grow slowly for a node that
joins others.

What this module does not do: know who is alive (``registry``), or when HAProxy is told
(``haagent.core.backends``).
"""

from collections import deque
from collections.abc import Collection
from dataclasses import replace
from enum import IntEnum

from haagent.core.actions import Server
from haagent.core.fleet.node import REAL_CHANGE, Node, Standing
from haagent.core.fleet.policy import WHOLE, least_load, natural, ramp, weight, weighted
from haagent.core.identity import NodeId
from haagent.core.messages import Service
from haagent.core.settings import NodeServersSettings, Policy, WhenEmpty
from haagent.core.units import DurationNs, MonoNs, between, later, milliseconds, seconds

STEP = seconds(1)
"""In which the weight of one that begins grows, and in which the least load is looked for."""

TOGETHER = seconds(5)
"""Servers that are lost within so long before the last one are lost for the same reason."""

AT_A_TIME = 200
"""Weights in one step of the agent: more would hold up the heartbeats to the peers."""

BREATH = milliseconds(1)
"""Between two such steps, in which whatever else has come is done."""


class Change(IntEnum):
    """What a change of the list means for when HAProxy is told."""

    NONE = 0
    WEIGHT = 1
    SERVER = 2
    """A server is to come or go."""


class _Member:
    """One node that is a server."""

    __slots__ = ("_place", "base", "begun", "joined_at", "node", "server")

    def __init__(self, node: Node, service: Service, server: Server) -> None:
        self.node = node
        self._place: tuple[str, str] | None = None
        self.joined_at = node.joined_at
        self.base = service.weight
        self.server = server
        self.begun: MonoNs | None = None
        """When it began slowly; None once that is over."""

    @property
    def place(self) -> tuple[str, str]:
        """Among the others, by name; remembered where it was ever asked for."""
        if self._place is None:
            self._place = natural(self.node.name), self.node.name
        return self._place


class NodeServers:
    """See the module docstring."""

    def __init__(self, settings: NodeServersSettings, reserved: Collection[str]) -> None:
        """``reserved``: names of servers that the file has, which no node can have."""
        self._settings = settings
        self._reserved = frozenset(reserved)
        self._members: dict[NodeId, _Member] = {}
        self._slow: dict[NodeId, _Member] = {}
        self._lowest: NodeId | None = None
        self._least = 0
        """How busy the least busy one was, when weights were last made by it."""
        self._waiting: deque[_Member] = deque()
        """Who is to be weighed before the next step."""
        self._step_due: MonoNs | None = None
        self._lost: dict[NodeId, tuple[MonoNs, Server]] = {}
        """Who went of late without a goodbye, and when."""
        self._last: tuple[Server, ...] = ()
        """The last good list: what went together with the last one."""
        self.clashes: dict[NodeId, str] = {}
        """Names of living nodes that the file gives to other servers."""

    @property
    def is_empty(self) -> bool:
        return not self._members

    @property
    def settings(self) -> NodeServersSettings:
        return self._settings

    def reconfigure(self, settings: NodeServersSettings, reserved: Collection[str]) -> None:
        """Go by these from now on; every node is to be considered anew."""
        self._settings = settings
        self._reserved = frozenset(reserved)
        self._lowest = None
        if settings.policy is Policy.LOWEST_ID and self._members:
            self._lowest = min(self._members.values(), key=lambda each: each.place).node.id
        self._step_due = None

    def consider(self, now: MonoNs, node: Node, *, joins: bool) -> Change:
        """Take in how a node stands, serves and works now; return what that changes.

        ``joins``: whether one that is new here begins slowly beside others.
        """
        member = self._members.get(node.id)
        service = self._service(node)
        if service is None:
            return Change.NONE if member is None else self._drop(now, member)
        if member is None:
            return self._add(now, node, service, slowly=joins and bool(self._members))
        if member.joined_at != node.joined_at:
            member.joined_at = node.joined_at
            if joins and len(self._members) > 1:
                self._begin_slowly(now, member)
        before, member.base = member.server, service.weight
        self._weigh(now, member)
        wanted = _server(node, service, member.server.weight, self._settings.check)
        if wanted == before:
            return Change.NONE
        member.server = wanted
        same = replace(before, weight=wanted.weight) == wanted
        return Change.WEIGHT if same else Change.SERVER

    def tick(self, now: MonoNs) -> Change:
        """Let those grow that have begun slowly, and see what the least load is."""
        if self._step_due is None or now < self._step_due:
            return Change.NONE
        change = Change.NONE
        if not self._waiting:
            self._waiting.extend(self._to_weigh())
        for _ in range(min(AT_A_TIME, len(self._waiting))):
            member = self._waiting.popleft()
            before = member.server.weight
            self._weigh(now, member)
            if member.server.weight != before:
                change = Change.WEIGHT
        self._step_due = later(now, BREATH) if self._waiting else None
        self._plan(now)
        return change

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        return self._step_due

    def servers(self) -> tuple[Server, ...] | None:
        """Return the list as it is to be; None: HAProxy's own is to be left as it is."""
        if self._members:
            return tuple(member.server for member in self._members.values())
        if self._settings.when_empty is WhenEmpty.REMOVE:
            return ()
        # After a start there may be nothing that we know of, and yet something there.
        return self._last or None

    def _service(self, node: Node) -> Service | None:
        """Return what makes the node a server here, if anything does."""
        self.clashes.pop(node.id, None)
        if not node.present:
            return None
        for service in node.services:
            if service.name == self._settings.service:
                if node.name in self._reserved:
                    self.clashes[node.id] = node.name
                    return None
                return service if service.healthy else None
        return None

    def _add(self, now: MonoNs, node: Node, service: Service, *, slowly: bool) -> Change:
        server = _server(node, service, service.weight, self._settings.check)
        member = self._members[node.id] = _Member(node, service, server)
        if len(self._members) == 1:
            self._least = node.busy  # Whoever comes is compared with it, until the next step.
        if self._settings.policy is Policy.LOWEST_ID:
            if self._lowest is None or member.place < self._members[self._lowest].place:
                self._prefer(now, member)
        elif slowly:
            self._begin_slowly(now, member)
        self._weigh(now, member)
        self._plan(now)
        return Change.SERVER

    def _drop(self, now: MonoNs, member: _Member) -> Change:
        del self._members[member.node.id]
        self._slow.pop(member.node.id, None)
        self._lose(now, member)
        if self._lowest == member.node.id:
            self._lowest = None
            if self._members:
                others = self._members.values()
                self._prefer(member.node.since, min(others, key=lambda each: each.place))
        return Change.SERVER

    def _lose(self, now: MonoNs, member: _Member) -> None:
        self._lost.pop(member.node.id, None)
        while self._lost and between(next(iter(self._lost.values()))[0], now) > TOGETHER:
            del self._lost[next(iter(self._lost))]
        if member.node.standing is not Standing.LEFT:
            self._lost[member.node.id] = now, member.server
        if not self._members:
            self._last = tuple(server for _, server in self._lost.values()) or (member.server,)
            self._lost = {}

    def _prefer(self, now: MonoNs, member: _Member) -> None:
        """Have ``member`` be the lowest of all, which alone gets traffic where that counts."""
        before, self._lowest = self._lowest, member.node.id
        self._weigh(now, member)
        if before is not None:
            self._weigh(now, self._members[before])

    def _begin_slowly(self, now: MonoNs, member: _Member) -> None:
        if member.node.pace.settings.slow_start > 0:
            member.begun = now
            self._slow[member.node.id] = member

    def _plan(self, now: MonoNs) -> None:
        compares = self._settings.policy is Policy.LEAST_LOAD and self._members
        if self._step_due is None and (self._slow or compares):
            self._step_due = later(now, STEP)

    def _to_weigh(self) -> Collection[_Member]:
        if self._settings.policy is Policy.LEAST_LOAD and self._members:
            least = min(member.node.busy for member in self._members.values())
            if abs(least - self._least) >= REAL_CHANGE:
                self._least = least
                return self._members.values()
        return self._slow.values()

    def _weigh(self, now: MonoNs, member: _Member) -> None:
        wanted = weight(member.base, self._share(member) * self._grown(now, member) // WHOLE)
        server = member.server
        if wanted != server.weight:
            member.server = replace(server, weight=wanted)

    def _share(self, member: _Member) -> int:
        match self._settings.policy:
            case Policy.STATIC:
                return WHOLE
            case Policy.WEIGHTED:
                return weighted(member.node.weighed)
            case Policy.LEAST_LOAD:
                return least_load(member.node.weighed, self._least)
            case Policy.LOWEST_ID:
                return WHOLE if member.node.id == self._lowest else 0

    def _grown(self, now: MonoNs, member: _Member) -> int:
        if member.begun is None:
            return WHOLE
        age = max(DurationNs(0), between(member.begun, now))
        share = ramp(age, member.node.pace.settings.slow_start)
        if share >= WHOLE:
            member.begun = None
            self._slow.pop(member.node.id, None)
        return share


def _server(node: Node, service: Service, weight: int, check: bool) -> Server:
    return Server(
        name=node.name, address=node.address, port=service.port, weight=weight, check=check
    )
