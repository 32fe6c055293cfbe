"""The newest events that ``haagent top`` shows, in an order in which no effect precedes its cause.

Records of several agents come as they arrive, and again after a connection is lost: each is shown
once, in its place by Lamport's counter, whatever the wall clocks say.
"""

from rich.console import RenderableType
from rich.text import Text

from haagent.cli.event_line import printable
from haagent.cli.status_screen import columns
from haagent.cli.top.panels import Verbatim, shouted
from haagent.control import haagent_pb2 as pb

_KEPT = 200
_UNREMARKABLE = {"info", "notice"}


class Tail:
    """See the module docstring."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str, int], pb.Event] = {}

    def add(self, events: list[pb.Event]) -> None:
        """Take ``events`` in; the oldest of all give way."""
        for event in events:
            self._events[event.node, event.boot_id, event.record.number] = event
        newest = sorted(self._events.items(), key=lambda item: _place(item[1]))[-_KEPT:]
        self._events = dict(newest)

    def shown(self) -> RenderableType:
        """Return one line, or as many as it takes, of each; the newest below."""
        if not self._events:
            return Text("none of the last 10 minutes")
        table = columns("time", "agent", "event", "cause", "what", gap=1)
        for event in self._events.values():
            record = event.record
            cause = f"#{record.cause}" if record.HasField("cause") else "-"
            row = f"{record.time[11:23]}", event.node, f"#{record.number}", cause
            table.add_row(*row, _what(record))
        return Verbatim(table)


def _place(event: pb.Event) -> tuple[int, int, int, str]:
    record = event.record
    return record.lamport, record.hlc.ms, record.hlc.counter, event.node


def _what(record: pb.Record) -> Text:
    severity = () if record.severity in _UNREMARKABLE else (shouted(record.severity), " ")
    group = f" {record.group}" if record.HasField("group") else ""
    return Text.assemble(
        *severity,
        (record.kind, "bold"),
        printable(f"{group}: {record.text}"),
    )
