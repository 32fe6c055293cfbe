"""The HAProxy servers wanted at this moment, from the roles and from who is alive.

What this module does not do: talk to HAProxy (``haagent.adapters.haproxy_runtime``), or
compare what is with what should be.
"""

from collections.abc import Mapping, Set

from haagent.core.actions import Backend, Server, SetBackends
from haagent.core.events import BackendsObserved
from haagent.core.identity import GroupId, Term
from haagent.core.messages import State
from haagent.core.settings import HAProxySettings, ServerSettings, When
from haagent.core.status import BackendsStatus


class Backends:
    """The wanted list, and what HAProxy was last seen to have."""

    def __init__(self, settings: HAProxySettings) -> None:
        self._settings = settings
        self._wanted: tuple[Backend, ...] | None = None
        self._observed = BackendsObserved(reachable=False, backends=(), trouble="")

    def update(
        self,
        states: Mapping[GroupId, State],
        terms: Mapping[GroupId, Term],
        alive: Set[str],
    ) -> list[SetBackends]:
        """Return the whole list when it is not the one last asked for.

        Args: the state and term of every group, and the names of the living peers.
        """
        wanted = tuple(
            Backend(
                backend.name,
                tuple(
                    _server(server)
                    for server in backend.servers
                    if _is_wanted(server, states, alive)
                ),
            )
            for backend in self._settings.backends
        )
        if wanted == self._wanted:
            return []
        self._wanted = wanted
        return [SetBackends(terms=tuple(terms.items()), backends=wanted)]

    def reconfigure(self, settings: HAProxySettings) -> bool:
        """Go by ``settings`` from the next :meth:`update` on; return whether they are others."""
        changed = settings != self._settings
        self._settings = settings
        return changed

    def observed(self, event: BackendsObserved) -> None:
        """Take in what HAProxy has."""
        self._observed = event

    def status(self) -> BackendsStatus:
        """Return wanted and seen."""
        return BackendsStatus(
            reachable=self._observed.reachable,
            wanted=self._wanted or (),
            seen=self._observed.backends,
            trouble=self._observed.trouble,
        )


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
