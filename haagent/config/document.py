"""A YAML file as plain data that still knows where each key and value stands.

What this module does not do: know which keys there are (``haagent.config.model``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from yaml.error import Mark
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from haagent.config.problems import ConfigurationError, Place, Problem
from haagent.config.scalars import has_own_tag, kind, plain, shown
from haagent.config.syntax import MAX_DEPTH, compose, end, refused

T = TypeVar("T")

MAX_BYTES = 256 * 1024
"""A thousand servers take 80 KiB; more is not a configuration file."""

MAX_VALUES = 20_000
"""Aliases of aliases grow without bound ("billion laughs"); this ends it."""


def read(path: Path) -> "Document":
    """Return the file at ``path``, parsed.

    Raises: ConfigurationError when it cannot be read or is not YAML.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise refused(file, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise refused(file, f"must be at most {MAX_BYTES // 1024} KiB, is longer")
    try:
        return Document(file, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        trouble = f"must be UTF-8, byte 0x{content[error.start]:02x} is not"
        raise refused(file, trouble, *end(before)) from None


@dataclass(slots=True)
class _Index:
    """The nodes of keys and values by their place."""

    keys: dict[Place, Node] = field(default_factory=dict)
    values: dict[Place, Node] = field(default_factory=dict)


class Document:
    """The parsed file; raises ConfigurationError when ``text`` is not YAML."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.digest = sha256(text.encode()).hexdigest()
        self.problems: list[Problem] = []
        """What is wrong whatever the schema says: keys given twice, keys that are no text."""
        self._index = _Index()
        self.data = self._add(compose(file, text), ())
        """str, int and bool in dicts and tuples; a YAML node where it is none of them."""

    def value(self, place: Place) -> Any:
        """Return the plain value at ``place``."""
        value = self.data
        for step in place:
            value = value[step]
        return value

    def line(self, place: Place) -> int:
        """Return the line of the value at ``place``."""
        return self._index.values[place].start_mark.line + 1

    def find(self, pattern: str) -> Iterator[tuple[Place, Any]]:
        """Yield every value whose place fits ``pattern``, in which ``*`` is any one step."""
        wanted = pattern.split(".")
        for place in self._index.values:
            if len(place) == len(wanted) and all(map(_fits, wanted, place)):
                yield place, self.value(place)

    def select(self, pattern: str, parse: Callable[[object], T]) -> Iterator[tuple[Place, T]]:
        """Yield what :meth:`find` does, parsed, and leave out what ``parse`` refuses."""
        for place, raw in self.find(pattern):
            try:
                parsed = parse(raw)
            except ValueError:
                continue
            yield place, parsed

    def wrong_value(self, place: Place, requirement: str) -> Problem:
        """Return a problem at the value of ``place``: what it must be, and what it is."""
        node = self._index.values[place]
        return self._problem(node.start_mark, place, f"{requirement}, is {shown(node)}")

    def at_value(self, place: Place, text: str) -> Problem:
        """Return a problem at the value of ``place``."""
        return self._problem(self._index.values[place].start_mark, place, text)

    def at_key(self, place: Place, text: str) -> Problem:
        """Return a problem at the key of ``place`` or, not written, at what should hold it."""
        at = place
        while at not in self._index.keys and at not in self._index.values:
            at = at[:-1]
        node = self._index.keys.get(at, self._index.values[at])
        return self._problem(node.start_mark, place, text)

    def _add(self, node: Node, place: Place) -> Any:
        self._index.values[place] = node
        if len(place) > MAX_DEPTH or len(self._index.values) > MAX_VALUES:
            text = "is nested too deeply or repeated too often; does an alias contain itself?"
            raise ConfigurationError((self.at_value(place, text),))
        if has_own_tag(node):
            self.problems.append(self.at_value(place, f"must have no tag, has {node.tag}"))
        match node:
            case MappingNode():
                return self._add_mapping(node, place)
            case SequenceNode():
                return tuple(self._add(item, (*place, i)) for i, item in enumerate(node.value))
            case _:
                return plain(node)

    def _add_mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else "?"
            below = (*place, name)
            if name in mapping:
                first = self._index.keys[below].start_mark.line + 1
                text = f"must be given once, is already given in line {first}"
                self.problems.append(self._problem(key.start_mark, below, text))
                continue
            if kind(key) != "str":
                text = f"must be a key of text in quotes, is {shown(key)}"
                self.problems.append(self._problem(key.start_mark, below, text))
            self._index.keys[below] = key
            mapping[name] = self._add(value, below)
        return mapping

    def _problem(self, mark: Mark, place: Place, text: str) -> Problem:
        return Problem(self.file, mark.line + 1, mark.column + 1, place, text)


def _fits(wanted: str, step: str | int) -> bool:
    return wanted in ("*", str(step))
