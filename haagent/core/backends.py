"""The HAProxy servers wanted at this moment: those of the file, by role and by who is alive, and
the app nodes.

Nothing is made anew unless something has changed, because this is asked in every step.  A server
that comes or goes is told at once, or a moment after the last list; a mere weight within a second.

What this module does not do: talk to HAProxy (``haagent.adapters.haproxy_runtime``), or
compare what is with what should be.
"""

from collections.abc import Mapping, Set

from haagent.core.actions import Backend, Server, SetBackends
from haagent.core.events import BackendsObserved, FileSettled
from haagent.core.fleet.registry import Registry
from haagent.core.fleet.servers import Change
from haagent.core.fleet.serving import Fleet
from haagent.core.identity import GroupId, Term
from haagent.core.journal import Journal
from haagent.core.messages import State
from haagent.core.settings import BackendSettings, HAProxySettings, ServerSettings, When
from haagent.core.status import BackendsStatus
from haagent.core.units import Moment, MonoNs, earliest, later, milliseconds, seconds

PAUSES = {Change.SERVER: milliseconds(50), Change.WEIGHT: seconds(1)}
"""Between one list and the next: nodes come and go in crowds, and each list has all of them."""


class Backends:
    """The wanted list, and what HAProxy was last seen to have."""

    def __init__(self, settings: HAProxySettings, journal: Journal) -> None:
        self._settings = settings
        self._wanted: tuple[Backend, ...] | None = None
        self._observed = BackendsObserved(reachable=False, backends=(), trouble="")
        self._static: dict[str, tuple[Server, ...]] = {}
        """The servers of the file that are wanted now, by backend."""
        self._conditions: object = None
        """What those follow from."""
        self._fleet = Fleet(journal)
        self._fleet.reconfigure(settings)
        self._told_at: MonoNs | None = None
        self._due: MonoNs | None = None
        """When the lists are to be looked at and told, if they are others."""
        self._file_trouble = ""

    def update(
        self,
        now: Moment,
        states: Mapping[GroupId, State],
        terms: Mapping[GroupId, Term],
        alive: Set[str],
        registry: Registry | None,
    ) -> list[SetBackends]:
        """Return the whole list when it is not the one last asked for.

        Args: the state and term of every group, the names of the living peers, the app nodes.
        """
        roles = {key: state.owns_addresses for key, state in states.items()}
        if (roles, alive) != self._conditions:
            self._conditions = (roles, alive)
            self._static = {b.name: _of_file(b, states, alive) for b in self._settings.backends}
            self._due = now.mono
        self._plan(now.mono, self._fleet.follow(now, registry))
        if self._due is None or now.mono < self._due or self._fleet.sweeping:
            return []
        self._due = None
        wanted = tuple(self._backend(backend.name) for backend in self._settings.backends)
        if wanted == self._wanted:
            return []
        self._wanted, self._told_at = wanted, now.mono
        return [SetBackends(terms=tuple(terms.items()), backends=wanted)]

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`update` has something to do that no event tells of."""
        return earliest(self._due, self._fleet.deadline())

    def reconfigure(self, settings: HAProxySettings) -> bool:
        """Go by ``settings`` from the next :meth:`update` on; return whether they are others."""
        changed = settings != self._settings
        if changed:
            self._settings = settings
            self._conditions = None
            self._fleet.reconfigure(settings)
        return changed

    def observed(self, event: BackendsObserved | FileSettled) -> None:
        """Take in what HAProxy has, or what became of its file."""
        if isinstance(event, FileSettled):
            self._file_trouble = event.trouble
        else:
            self._observed = event

    def status(self) -> BackendsStatus:
        """Return wanted and seen."""
        return BackendsStatus(
            reachable=self._observed.reachable,
            wanted=self._wanted or (),
            seen=self._observed.backends,
            trouble=self._observed.trouble,
            file=self._settings.file.path if self._settings.file else "",
            file_trouble=self._file_trouble,
        )

    def _plan(self, now: MonoNs, change: Change) -> None:
        if change is Change.NONE:
            return
        due = now if self._told_at is None else max(now, later(self._told_at, PAUSES[change]))
        self._due = earliest(self._due, due)

    def _backend(self, name: str) -> Backend:
        nodes, whole = self._fleet.servers(name)
        return Backend(name, self._static[name] + nodes, whole)


def _of_file(
    backend: BackendSettings, states: Mapping[GroupId, State], alive: Set[str]
) -> tuple[Server, ...]:
    return tuple(_server(each) for each in backend.servers if _is_wanted(each, states, alive))


def _is_wanted(server: ServerSettings, states: Mapping[GroupId, State], alive: Set[str]) -> bool:
    if server.of is not None and server.of not in alive:
        return False
    if server.when is When.ALWAYS:
        return True
    assert server.group is not None, "the configuration names the group that `when` means"
    masters = states[server.group].owns_addresses
    return masters if server.when is When.MASTER else not masters


def _server(server: ServerSettings) -> Server:
    return Server(
        name=server.name,
        address=server.address,
        port=server.port,
        weight=server.weight,
        check=server.check,
    )
