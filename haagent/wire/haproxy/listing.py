"""Every server of HAProxy beside what is wanted: what ``haagent haproxy`` shows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from haagent.core.actions import Backend, Server
from haagent.wire.haproxy.tables import Held, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server, wanted or there or both."""

    backend: str
    name: str
    wanted: Server | None
    actual: Held | None
    status: str = ""
    """HAProxy's own word and its last check: ``UP L4OK``, ``MAINT``."""
    difference: str
    """What is not as wanted; empty when all is."""

    @property
    def state(self) -> str:
        """As ``set server`` names it: ``ready``, ``drain`` or ``maint``; empty when not there."""
        if self.actual is None:
            return ""
        if self.actual.in_service:
            return "ready"
        return "drain" if self.actual.draining else "maint"


def rows(backend: Backend, table: Table | None, health: Mapping[str, str]) -> Iterator[Row]:
    """Yield the servers of ``backend``, the wanted ones first.

    ``table``: None when HAProxy does not answer; then nobody knows what is different.
    """
    if not isinstance(table, dict):
        for server in backend.servers:
            yield Row(
                backend=backend.name,
                name=server.name,
                wanted=server,
                actual=None,
                difference="unknown",
            )
        return
    wanted = {server.name: server for server in backend.servers}
    for name in dict.fromkeys((*wanted, *table)):
        want, held = wanted.get(name), table.get(name)
        yield Row(
            backend=backend.name,
            name=name,
            wanted=want,
            actual=held,
            status=health.get(name, ""),
            difference=_difference(want, held, whole=backend.whole),
        )


def _difference(want: Server | None, held: Held | None, *, whole: bool) -> str:
    if held is None:
        return "missing"
    if want is None:
        # One that waits for its last connection, or that may turn out to be wanted, is as it was.
        return "not wanted" if held.in_service and whole else ""
    if not held.in_service:
        return "out of service"
    different = {
        "address": (held.address, held.port) != (want.address, want.port),
        "weight": held.weight != want.weight,
        "check": held.check != want.check,
        "health": held.forced_down,
    }
    return ", ".join(name for name, is_so in different.items() if is_so)
