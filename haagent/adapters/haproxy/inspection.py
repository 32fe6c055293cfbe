"""A look at what HAProxy has and how it judges its servers, for whoever asks; it waits."""

from collections.abc import Sequence

from haagent.adapters.haproxy.exchange import exchange, explain
from haagent.core.actions import Backend
from haagent.wire.haproxy.listing import Row, rows
from haagent.wire.haproxy.tables import read_health, read_table, show, show_statistics


def inspect(socket: str, backends: Sequence[Backend]) -> tuple[list[Row], str]:
    """Return every server of ``backends``, and why HAProxy does not answer; empty when it does."""
    found: list[Row] = []
    trouble = ""
    for backend in backends:
        table, health = None, {}
        if not trouble:
            try:
                state, stat = exchange(socket, [show(backend), show_statistics(backend.name)])
                table, health = read_table(state), read_health(stat)
            except OSError as error:
                trouble = explain(error, socket)
        found += rows(backend, table, health)
    return found, trouble
