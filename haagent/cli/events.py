"""``haagent events``: what an agent has recorded, over all its starts, each with its cause.

Exit codes: 0 shown, also when there is nothing to show; 1 not all could be shown, and stderr
says why; 2 bad usage; 3 no agent answers.  With ``--follow`` it ends with 0 on Ctrl-C.

What this module does not do: ask other agents.  Their histories go into ``merged`` beside the
one that is there.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from haagent.cli.control_socket import control_socket
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, fetch_events
from haagent.control.plain import values_of
from haagent.core.clocks import Hlc, Stamp
from haagent.core.timeline import Mark, Order, merged

_TIMEOUT_S = 10.0
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RECENT_MS = 600_000
_PATTERN = re.compile(r"[a-z.*?]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line says."""

    since: str | None
    group: str | None
    kinds: tuple[str, ...]
    follow: bool
    order: str
    verbose: bool
    as_json: bool


def events(socket: Path | None, config: Path | None, wanted: Wanted) -> None:
    """Show what the agent behind ``socket``, or that ``config`` names, has recorded."""
    request, order = _request(wanted), _order(wanted.order)
    history = _History(control_socket(socket, config), request)
    try:
        _show(merged([history.events()], mark, order), wanted)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(0 if wanted.follow else 130)
    sys.exit(1 if history.trouble else 0)


class _History:
    """What one agent answers."""

    def __init__(self, socket: Path, request: pb.EventsRequest) -> None:
        self._socket = socket
        self._request = request
        self.trouble = ""

    def events(self) -> Iterator[pb.Event]:
        """Yield the events; say what is wrong when that changes."""
        for reply in fetch_events(self._socket, _TIMEOUT_S, self._request):
            yield from reply.events
            if reply.trouble not in {"", self.trouble}:
                print(f"haagent: not all is shown: {reply.trouble}", file=sys.stderr)
            self.trouble = reply.trouble


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
        since_ms=since_ms, group=wanted.group, kinds=wanted.kinds, follow=wanted.follow
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
    boots: dict[str, str] = {}
    for event in events:
        if wanted.as_json:
            print(json.dumps(values_of(event)), flush=wanted.follow)
            continue
        if boots.setdefault(event.node, event.boot_id) != event.boot_id:
            print(f"-- another start of {event.node}: numbers count from 1 again")
        boots[event.node] = event.boot_id
        lines = _line(event.record, event.node), *(_details(event.record) if wanted.verbose else ())
        print(*map(_printable, lines), sep="\n", flush=wanted.follow)


def _line(record: pb.Record, node: str) -> str:
    group = record.group if record.HasField("group") else "-"
    term = f"term {record.term}" if record.HasField("term") else "-"
    cause = f"  <- #{record.cause}" if record.HasField("cause") else ""
    number = f"#{record.number}"
    facts = f"{record.time}  {node}  {number:<5} {group:<8} {term:<9} {record.kind:<15}"
    return f"{facts} {record.text}{cause}"


def _details(record: pb.Record) -> Iterator[str]:
    hlc = record.hlc
    yield f"    {record.severity}, lamport {record.lamport}, hlc {hlc.ms}.{hlc.counter}"
    for line in record.evidence:
        yield f"    {line}"


def _printable(line: str) -> str:
    """Return ``line`` without what a terminal obeys: a program may have said anything."""
    return "".join(char if char.isprintable() else "?" for char in line)
