"""``haagent events``: what the agents have recorded, in one order, each with its cause.

The agent that is asked passes on what the others have.  Who is missing is said on stderr, after
what is shown or, with ``--follow``, when it changes; with ``--json`` by a line of its own as well.

Exit codes: 0 shown, also when there is nothing to show or agents are missing; 1 not all of the
agent that is asked could be shown, and stderr says why; 2 bad usage; 3 no agent answers.  With
``--follow`` it ends with 0 on Ctrl-C.

What this module does not do: lay out a line (``haagent.cli.event_line``).
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from haagent.cli.control_socket import control_socket
from haagent.cli.event_line import Lines
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, fetch_events
from haagent.control.plain import values_of
from haagent.core.clocks import Hlc, Stamp
from haagent.core.concurrency import Concurrency
from haagent.core.timeline import Mark, Merging, Order
from haagent.core.units import MonoNs

_TIMEOUT_S = 10.0
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RECENT_MS = 600_000
_PATTERN = re.compile(r"[a-z_.*?]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line says."""

    since: str | None
    group: str | None
    kinds: tuple[str, ...]
    follow: bool
    local: bool
    order: str
    verbose: bool
    as_json: bool


def events(socket: Path | None, config: Path | None, wanted: Wanted) -> None:
    """Show what the agent behind ``socket``, or that ``config`` names, and its peers recorded."""
    request, order = _request(wanted), _order(wanted.order)
    histories = _Histories(control_socket(socket, config), request, order, as_json=wanted.as_json)
    try:
        _show(histories.events(), wanted)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(0 if wanted.follow else 130)
    finally:
        histories.tell_missing()
    sys.exit(1 if histories.incomplete else 0)


class _Histories:
    """What the agent answers of itself and of the others."""

    def __init__(
        self, socket: Path, request: pb.EventsRequest, order: Order, *, as_json: bool
    ) -> None:
        self._socket = socket
        self._request = request
        self._as_json = as_json
        self._merging = Merging[pb.Event]((), mark, order)
        self._asked = ""
        """The agent that answers: the first that it names."""
        self._troubles: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._told: dict[str, str] = {}

    @property
    def incomplete(self) -> bool:
        """Whether not all could be had of the agent that is asked."""
        return bool(self._troubles.get(self._asked))

    def events(self) -> Iterator[pb.Event]:
        """Yield the events in their order."""
        try:
            for reply in fetch_events(self._socket, _TIMEOUT_S, self._request):
                if reply.node:
                    self._asked = self._asked or reply.node
                    self._take_in(reply)
                yield from self._merging.take(_now())
                if self._request.follow:
                    self.tell_missing()
        except AgentUnreachable:
            yield from self._rest()
            raise
        yield from self._rest()

    def _rest(self) -> Iterator[pb.Event]:
        for node in self._troubles:
            self._merging.close(node)
        yield from self._merging.take(_now())

    def tell_missing(self) -> None:
        """Say who is missing, as far as that has not been said."""
        for node, why in self._missing.items():
            if self._told.get(node, "") != why:
                self._told[node] = why
                print(
                    f"haagent: {node} is missing: {why}" if why else f"haagent: {node} is back",
                    file=sys.stderr,
                )
                if self._as_json:
                    print(json.dumps({"node": node, "missing": why}), flush=True)

    def _take_in(self, reply: pb.EventsReply) -> None:
        node, trouble = reply.node, reply.trouble
        if trouble not in {"", self._troubles.get(node)}:
            print(f"haagent: not all of {node} is shown: {trouble}", file=sys.stderr)
        self._troubles[node] = trouble
        if reply.missing or node in self._missing:
            self._missing[node] = reply.missing
        self._merging.add(_now(), node, reply.events, more=reply.more)
        if reply.missing or not (reply.more or self._request.follow):
            self._merging.close(node)


def _now() -> MonoNs:
    return MonoNs(time.monotonic_ns())


def _request(wanted: Wanted) -> pb.EventsRequest:
    since_ms = _RECENT_MS if wanted.follow else None
    if wanted.since is not None:
        found = re.fullmatch(r"([0-9]{1,6})(s|m|h|d)", wanted.since)
        if not found:
            text = f"must be a whole number with a unit, as in 90s, 10m, 2h or 7d: {wanted.since}"
            raise typer.BadParameter(text, param_hint="--since")
        since_ms = int(found[1]) * _UNITS_MS[found[2]]
    for kind in wanted.kinds:
        if not _PATTERN.fullmatch(kind):
            text = f"must be a kind of record or a pattern, as in role.changed or peer.*: {kind}"
            raise typer.BadParameter(text, param_hint="--kind")
    return pb.EventsRequest(
        since_ms=since_ms,
        group=wanted.group,
        kinds=wanted.kinds,
        follow=wanted.follow,
        cluster=not wanted.local,
    )


def _order(text: str) -> Order:
    try:
        return Order(text)
    except ValueError:
        message = f"must be lamport or hlc: {text}"
        raise typer.BadParameter(message, param_hint="--order") from None


def mark(event: pb.Event) -> Mark:
    hlc = event.record.hlc
    return Mark(Stamp(Hlc(hlc.ms, hlc.counter), event.record.lamport), event.node)


def _show(events: Iterator[pb.Event], wanted: Wanted) -> None:
    concurrency = Concurrency()
    lines = Lines(verbose=wanted.verbose)
    for event in events:
        heard = {each.node: each.lamport for each in event.record.heard}
        concurrent = concurrency.add(event.node, event.record.lamport, heard)
        if wanted.as_json:
            line = json.dumps(values_of(event) | {"concurrent": concurrent})
            print(line, flush=wanted.follow)
        else:
            print(*lines.of(event, concurrent), sep="\n", flush=wanted.follow)
