"""YAML text to a node graph, or to one problem at the place where it stops being YAML.

PyYAML's own loader in Python: its messages do not depend on which C library is there, and
a file of a few hundred lines takes milliseconds.
"""

import re
from typing import Any

import yaml
from yaml.error import Mark, MarkedYAMLError
from yaml.nodes import Node
from yaml.reader import ReaderError

from haagent.config.problems import ConfigurationError, Problem

MAX_DEPTH = 12
"""Twice what the schema needs."""


def compose(file: str, text: str) -> Node:
    """Return the root node of ``text``, every node with its line and column.

    Raises: ConfigurationError, with ``file`` in its problem.
    """
    try:
        root = _compose(text)
    except ReaderError as error:
        # The type stub says ``character`` is text; of text it is the code point.
        trouble = f"must be printable text, character {error.character!r} is not"
        raise refused(file, trouble, *end(text[: error.position])) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or _START
        trouble = _trouble(str(error.problem), mark, text)
        raise refused(file, trouble, mark.line + 1, mark.column + 1) from None
    if root is None:
        raise refused(file, "must be a mapping of settings, is empty")
    return root


def refused(file: str, text: str, line: int = 1, column: int = 1) -> ConfigurationError:
    """Return the error for a file that cannot be taken as a whole."""
    return ConfigurationError((Problem(file, line, column, (), text),))


def end(text: str) -> tuple[int, int]:
    """Return line and column of what follows ``text``."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


_START = Mark("", 0, 0, 0, None, 0)


class _Loader(yaml.SafeLoader):
    """Deep nesting is an error with a position, not a RecursionError."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if parent and self.depth > MAX_DEPTH:
            raise MarkedYAMLError(problem="nested too deeply", problem_mark=parent.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str) -> Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError):
        # PyYAML lets these through: an escape beyond Unicode, a version of 5000 digits.
        mark = loader.get_mark()
        raise MarkedYAMLError(problem="number out of range", problem_mark=mark) from None


def _trouble(problem: str, mark: Mark, text: str) -> str:
    # By the index, not the line: YAML counts NEL and other characters as line breaks too.
    line = text[text.rfind("\n", 0, mark.index) + 1 :].partition("\n")[0]
    if "'\\t'" in problem:
        return "must be indented and spaced with spaces, is with a tab"
    if "another document" in problem:
        return "must be one document, another one begins here"
    if re.search(r"\]:\d|[\s\[,]::", line):
        problem += "; an IPv6 address in brackets or beginning with ':' needs quotes"
    return f"is not YAML: {problem}"
