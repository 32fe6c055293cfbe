"""How every command that needs the configuration reads it, and says what is wrong with it."""

import sys
from pathlib import Path

from haagent.config import ConfigurationError, Loaded, load


def read(file: Path) -> Loaded:
    """Return the configuration in ``file``, with its warnings on stderr.

    Exits with 2, every problem on stderr, when the file cannot be used.
    """
    try:
        loaded = load(file)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return loaded
