"""Sends one notice to the services of a file: a process of its own, for apprise is large.

``python -m haagent.adapters.notify`` reads what to do from its input, as JSON: ``file``, ``only``
(numbers of services, from 1; empty means all), ``title``, ``body`` and ``type``; without a title it
only looks whether the services can be used.  The last line of its output is JSON: ``failed``,
the numbers of the services that failed, and ``text``, what is wrong in one line.

An agent pays nothing for a library that it needs once a month: 40 MiB and a quarter of a second of
a processor while it sends.
"""

import json
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 1024


class UnusableError(Exception):
    """Nothing can be sent; the text says why."""


def services(file: Path) -> list[str]:
    """Return the addresses in ``file``, one a line; ``#`` begins a comment.

    Raises: UnusableError.
    """
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read(MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}"
        raise UnusableError(message) from None
    if mode & 0o077:
        message = f"{file}: others may use it (mode {mode:04o}): chmod 600 {file}"
        raise UnusableError(message)
    lines = (line.strip() for line in text.splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        message = f"{file}: has no service"
        raise UnusableError(message)
    return found


def send(request: dict[str, Any]) -> tuple[list[int], str]:
    """Do what ``request`` says; return the numbers of the services that failed, and why."""
    addresses = services(Path(request["file"]))
    try:
        import apprise  # noqa: PLC0415  # an extra
    except ImportError:
        message = "apprise is not installed: pip install 'haagent[notify]'"
        raise UnusableError(message) from None
    trouble = _Trouble()
    logging.getLogger("apprise").addHandler(trouble)
    failed: dict[int, str] = {}
    for number, address in enumerate(addresses, start=1):
        if request["only"] and number not in request["only"]:
            continue
        trouble.last = ""
        service = apprise.Apprise()
        if not service.add(address):
            failed[number] = "is no address of a service"
        elif request.get("title") and not service.notify(
            title=request["title"], body=request["body"], notify_type=request["type"]
        ):
            failed[number] = trouble.last or "has not taken it"
    texts = [f"service {number}: {text}" for number, text in failed.items()]
    return list(failed), f"{request['file']}: {'; '.join(texts)}" if texts else ""


class _Trouble(logging.Handler):
    """The last thing that apprise complained of; it leaves secrets out."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage().replace("\n", " ")


def main() -> int:
    """Do what the input says; return the exit code."""
    try:
        failed, text = send(json.load(sys.stdin))
    except UnusableError as error:
        failed, text = [], str(error)
    sys.stdout.write(json.dumps({"failed": failed, "text": text}) + "\n")
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main())
