"""What is wrong with a configuration file, and where, as values that print as one line each."""

from dataclasses import dataclass
from typing import TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""The way from the top of the file to a value: keys, and indices of lists from 0."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint; ``str()`` gives ``file:line:column: place: text``."""

    file: str
    line: int
    """From 1; trouble with the file as a whole is at 1:1."""
    column: int
    """From 1, in characters."""
    place: Place
    text: str
    """What is required, then what it is."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return ": ".join(filter(None, (where, dotted(self.place), self.text)))


class ConfigurationError(Exception):
    """The file cannot be used; ``str()`` gives all problems, a line each, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = in_file_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


def in_file_order(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return ``problems`` from the top of the file to its end."""
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def dotted(place: Place) -> str:
    """Return ``place`` as a person writes it: ``heartbeat.paths[0].interface``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{printable(step)}" for step in place)
    return "".join(steps).removeprefix(".")


def printable(text: str) -> str:
    """Return ``text``, quoted and with escapes when it would not stay on one line."""
    return text if text.isprintable() else repr(text)
