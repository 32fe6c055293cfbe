"""How YAML reads a scalar, and how to say so to whoever wrote it.

YAML 1.1 reads ``no`` as false, ``0150`` as 104 and ``1:30`` as 90.  Here a number is
decimal or it is none: whatever else is not plainly text stays a YAML node, which no
validator accepts, and :func:`shown` tells what became of it.
"""

import re

from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, SequenceNode

from haagent.config.problems import printable

_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_STANDARD = "tag:yaml.org,2002:"
_KINDS = {"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value"}
_LONGEST = 60


def kind(node: Node) -> str:
    """Return the last word of the node's tag: ``str``, ``int``, ``bool``, ``map``."""
    return str(node.tag).removeprefix(_STANDARD)


def has_own_tag(node: Node) -> bool:
    """Return whether the node has a tag that only programs with private types understand."""
    return kind(node) not in _KINDS


def plain(node: Node) -> str | int | bool | Node:
    """Return the scalar as text, number or truth value; as it is when it is none of them."""
    match kind(node):
        case other if other == "str" or has_own_tag(node):
            return str(node.value)
        case "bool" if node.value.lower() in SafeConstructor.bool_values:
            return bool(SafeConstructor.bool_values[node.value.lower()])
        case "int" if _DECIMAL.fullmatch(node.value):
            return int(node.value)
        case _:
            return node


def shown(node: Node) -> str:
    """Return the node as it is written, with YAML's reading of it where that may surprise."""
    match node:
        case MappingNode():
            return "a mapping" if node.value else "an empty mapping"
        case SequenceNode():
            return "a list" if node.value else "an empty list"
    written = node.value if len(node.value) <= _LONGEST else f"{node.value[:_LONGEST]}..."
    match kind(node):
        case "null":
            return "empty"
        case "str":
            return f"the text {written!r}" if _looks_like_more(node.value) else repr(written)
    reading = _reading(node)
    written = printable(written)
    return written if reading == written else f"{written}, which YAML reads as {reading}"


def _looks_like_more(text: str) -> bool:
    """Return whether ``text`` would be a number or a truth value without its quotes."""
    return bool(_DECIMAL.fullmatch(text)) or text.lower() in SafeConstructor.bool_values


def _reading(node: Node) -> str:
    match kind(node), plain(node):
        case "bool", bool(value):
            return "true" if value else "false"
        case "timestamp", _:
            return "a date"
        case "int", int():
            return str(node.value)
        case "int", _:
            return _number(node)
        case "float", _:
            return "a number"
        case _:
            return "something else than text"


def _number(node: Node) -> str:
    """Return what becomes of a number in octal, hexadecimal, binary or base 60."""
    try:
        return str(SafeConstructor().construct_object(node))
    except ValueError:
        return "a number"
