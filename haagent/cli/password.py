"""``haagent password FILE``: the password of ``http.login``, as a file that does not tell it.

It is asked for twice, or read from a line of standard input where that is no terminal.

Exit codes: 0 made, 1 the file is there already or cannot be written, 2 nobody could log in with it.
"""

import getpass
import sys
from pathlib import Path

from haagent.cli.keygen import create
from haagent.config.password import password_line


def password(file: Path) -> None:
    """Write the file, readable by its owner alone; one that is there is left alone."""
    try:
        line = password_line(_asked())
    except ValueError as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        create(file, line.encode())
    except FileExistsError:
        sys.exit(f"{file}: exists; remove it first: until there is another nobody can log in")
    except OSError as error:
        sys.exit(f"{file}: cannot be written: {error.strerror}")


def _asked() -> str:
    """Raises: ValueError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise ValueError("the two are not the same")
    return first
