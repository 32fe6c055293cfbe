"""Figures as tables: the same for the terminal (rich) and for ``docs/benchmarks.md``."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table as RichTable

MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table with what must be known to read it."""

    title: str
    note: str
    columns: tuple[str, ...]
    """The first is the name of the row; figures stand to the right."""
    rows: tuple[tuple[str, ...], ...]

    def for_terminal(self) -> RichTable:
        table = RichTable(
            title=self.title, caption=self.note, title_justify="left", caption_justify="left"
        )
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        rule = ["---", *("---:" for _ in self.columns[1:])]
        rows = [self.columns, rule, *self.rows]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"## {self.title}", "", self.note, "", *lines, ""])


def median_and_maximum(values: Sequence[float], digits: int = 0) -> str:
    """Return both: ``123 / 130``, with so many ``digits`` after the point."""
    return f"{median(values):.{digits}f} / {max(values):.{digits}f}"
