"""An event as lines for people, of at most a hundred columns where its text allows.

What this module does not do: put events in order (``haagent.core.timeline``).
"""

from collections.abc import Iterator

from haagent.control import haagent_pb2 as pb


class Lines:
    """Lays out one event after the other; what an earlier line has said is not said again."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._day = ""
        self._boots: dict[str, str] = {}
        self._explained = False

    def of(self, event: pb.Event, concurrent: list[str]) -> Iterator[str]:
        """Yield the lines of ``event``; ``concurrent``: the agents of which it knew nothing."""
        day = event.record.time[:10]
        if day != self._day:
            self._day = day
            yield f"-- {day}, UTC"
        if self._boots.setdefault(event.node, event.boot_id) != event.boot_id:
            yield f"-- another start of {event.node}: numbers count from 1 again"
        self._boots[event.node] = event.boot_id
        if concurrent and not self._explained:
            self._explained = True
            yield f"-- || {concurrent[0]}: made without knowledge of the line of it that is above"
        yield printable(_line(event.record, event.node, concurrent))
        if self._verbose:
            yield from map(printable, _details(event.record))


def _line(record: pb.Record, node: str, concurrent: list[str]) -> str:
    group = record.group or "-"
    if record.HasField("term"):
        group += f"/{record.term}"
    number = f"#{record.number}"
    facts = f"{record.time[11:23]} {node:<4} {number:<4} {group:<7} {record.kind:<14} {record.text}"
    cause = f"  <- #{record.cause}" if record.HasField("cause") else ""
    return facts + cause + (f"  || {', '.join(concurrent)}" if concurrent else "")


def _details(record: pb.Record) -> Iterator[str]:
    hlc = record.hlc
    heard = "".join(f", had heard {each.node} at {each.lamport}" for each in record.heard)
    yield f"    {record.severity}, lamport {record.lamport}, hlc {hlc.ms}.{hlc.counter}{heard}"
    for line in record.evidence:
        yield f"    {line}"


def printable(line: str) -> str:
    """Return ``line`` without what a terminal obeys: a program may have said anything."""
    return "".join(char if char.isprintable() else "?" for char in line)
