"""The app nodes as servers of every backend: what the registry finds goes into the lists.

What this module does not do: weigh a node (``haagent.core.fleet.servers``), or add the servers of
the file (``haagent.core.backends``).
"""

from haagent.core.actions import Server, Severity
from haagent.core.fleet.registry import Registry
from haagent.core.fleet.servers import BREATH, Change, NodeServers
from haagent.core.journal import Journal
from haagent.core.settings import HAProxySettings, WhenEmpty
from haagent.core.units import Moment, MonoNs, earliest, later

AT_A_TIME = 200
"""Changed nodes that are looked at in one step: more would hold up the heartbeats to the peers."""


class Fleet:
    """See the module docstring."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._backends: dict[str, NodeServers] = {}
        self._alarms: set[tuple[str, str]] = set()
        self._whole = False
        """Whether everybody that lives has been heard: who is in no list is to go."""
        self._sweep_due = False
        self._more_due: MonoNs | None = None
        self.sweeping = False
        """Whether every node is looked at anew, so that the lists have gaps as yet."""

    def reconfigure(self, settings: HAProxySettings) -> None:
        """Go by ``settings`` from the next :meth:`follow` on."""
        known, self._backends = self._backends, {}
        for backend in settings.backends:
            if backend.nodes is not None:
                names = frozenset(server.name for server in backend.servers)
                if backend.name in known:
                    known[backend.name].reconfigure(backend.nodes, names)
                    self._backends[backend.name] = known[backend.name]
                else:
                    self._backends[backend.name] = NodeServers(backend.nodes, names)
        self._sweep_due = bool(known or self._backends)

    def follow(self, now: Moment, registry: Registry | None) -> Change:
        """Take in what has changed among the nodes; return what that changes in the lists."""
        if registry is None:
            self._clear(now, keep=set())
            return Change.NONE
        if self._sweep_due:
            self._sweep_due, self.sweeping = False, True
            registry.tell_all()
        change = Change.NONE
        # Who is found while we are new has been there before: it does not begin slowly.
        known = registry.settled and not self.sweeping
        for node in registry.take_changes(AT_A_TIME):
            for servers in self._backends.values():
                change = max(change, servers.consider(now.mono, node, joins=known))
        self._more_due = later(now.mono, BREATH) if registry.has_changes else None
        self.sweeping = self.sweeping and registry.has_changes
        for servers in self._backends.values():
            change = max(change, servers.tick(now.mono))
        whole = registry.settled and not self.sweeping
        if whole != self._whole:
            self._whole, change = whole, Change.SERVER
        if change is Change.SERVER:
            self._warn(now)
        return change

    def servers(self, backend: str) -> tuple[tuple[Server, ...], bool]:
        """Return the nodes that are servers of ``backend``, and whether these are all."""
        servers = self._backends.get(backend)
        if servers is None:
            return (), True
        wanted = servers.servers()
        return wanted or (), self._whole and wanted is not None

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`follow` has something to do that no event tells of."""
        return earliest(self._more_due, *(each.deadline() for each in self._backends.values()))

    def _warn(self, now: Moment) -> None:
        alarms: set[tuple[str, str]] = set()
        for backend, servers in self._backends.items():
            if servers.is_empty and self._whole:
                alarms.add(("backend.none", backend))
                text = f"no app node serves {servers.settings.service}, {_what_is_left(servers)}"
                text = f"backend {backend}: {text}"
                self._journal.alarm(now, "backend.none", backend, text, severity=Severity.CRITICAL)
            for name in servers.clashes.values():
                alarms.add(("backend.clash", f"{backend} {name}"))
                text = f"backend {backend}: the file has a server {name}, and so no node gets in"
                self._journal.alarm(now, "backend.clash", f"{backend} {name}", text)
        self._clear(now, keep=alarms)

    def _clear(self, now: Moment, keep: set[tuple[str, str]]) -> None:
        for kind, subject in self._alarms - keep:
            self._journal.clear(now, kind, subject)
        self._alarms = keep


def _what_is_left(servers: NodeServers) -> str:
    if servers.settings.when_empty is WhenEmpty.KEEP:
        return "and its last servers stay"
    return "and its servers are removed"
