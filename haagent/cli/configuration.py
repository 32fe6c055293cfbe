"""How every command that needs the configuration reads it, and says what is wrong with it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from haagent.config import ConfigurationError, Loaded, LoadedNode, is_of_a_node, load, load_node

_AnyLoaded = TypeVar("_AnyLoaded", Loaded, LoadedNode)


def read(file: Path) -> Loaded:
    """Return the configuration in ``file``, with its warnings on stderr.

    Exits with 2, every problem on stderr, when the file cannot be used.
    """
    return _read(load, file)


def read_node(file: Path) -> LoadedNode:
    """Do the same for the file of an app node."""
    return _read(load_node, file)


def read_either(file: Path) -> Loaded | LoadedNode:
    """Do the same for a file of either kind."""
    try:
        of_a_node = is_of_a_node(file)
    except ConfigurationError as error:
        _refuse(error)
    return read_node(file) if of_a_node else read(file)


def _read(load_file: Callable[[Path], _AnyLoaded], file: Path) -> _AnyLoaded:
    try:
        loaded = load_file(file)
    except ConfigurationError as error:
        _refuse(error)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return loaded


def _refuse(error: ConfigurationError) -> NoReturn:
    print(error, file=sys.stderr)
    sys.exit(2)
