"""What a check found, in one line that an operator can read."""

from typing import NamedTuple

LONGEST = 200
"""Characters of a text."""


class Result(NamedTuple):
    """The outcome of one check."""

    passed: bool
    text: str
    """One printable line."""


def one_line(text: str) -> str:
    """Return ``text`` as it may stand in a line of status or log, whatever a stranger has said."""
    words = " ".join(text.split())
    plain = "".join(char if char.isprintable() else "?" for char in words)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."


def trouble(error: OSError) -> str:
    """Return what the system says of ``error``, in its own words."""
    return one_line(error.strerror or str(error)).lower()
