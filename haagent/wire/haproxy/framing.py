"""The framing of the Runtime API: several commands in one line, one answer for each.

A :func:`request` is in interactive mode, so that each command's answer stands between two
prompts; :func:`replies` takes them apart.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

MAX_BATCH_COMMANDS = 100
"""HAProxy does nothing else meanwhile: 100 take 30 ms in a backend of 10,000 servers."""
MAX_BATCH_BYTES = 8192
"""Half of HAProxy's default buffer (``tune.bufsize``)."""

_PROMPT = "\n> "
_COMMAND = re.compile(r"[\w .:/%\[\]-]+", re.ASCII)
"""No newline or ``;`` (a second command), no ``<`` (a payload), no backslash."""


def batches(commands: Iterable[str]) -> Iterator[list[str]]:
    """Yield ``commands`` in order, in lists that are fit for one :func:`request`."""
    batch: list[str] = []
    size = 0
    for command in commands:
        if batch and (len(batch) == MAX_BATCH_COMMANDS or size + len(command) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(command)
        size += len(command) + 1
    if batch:
        yield batch


def request(commands: Sequence[str]) -> bytes:
    """Return the line that asks for ``commands`` and then for the end of the connection."""
    for command in commands:
        assert _COMMAND.fullmatch(command), f"not one command: {command!r}"
    return ";".join(("prompt", *commands, "quit")).encode() + b"\n"


def replies(data: bytes, count: int) -> list[str] | None:
    """Return the answers to a :func:`request` of ``count`` commands.

    None when ``data`` is not the whole answer of a HAProxy.
    """
    first, *answers = data.decode(errors="replace").split(_PROMPT)
    if first or len(answers) != count + 1 or answers.pop():
        return None
    return [answer.strip() for answer in answers]
