"""The text of HAProxy's configuration file: from a template, or from the operator's own file.

A template (Jinja2) sees ``backends``, the servers of each backend by its name; a server has
``name``, ``address``, ``port``, ``endpoint``, ``weight``, ``check`` and ``line``, which is all of
them as HAProxy wants it.  It can read nothing else, and nothing that is misspelt goes unnoticed.

What this module does not do: judge the text as HAProxy does, or write it anywhere.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from haagent.core.actions import Backend, Server
from haagent.wire.haproxy.configuration import endpoint, lacks, line, with_servers

MAX_TEXT = 16 << 20
RENDER_S = 10.0
"""A template that takes longer goes round and round."""


class RenderError(Exception):
    """There is no usable text; this one says why."""


def render(template: Path | None, current: bytes | None, backends: Sequence[Backend]) -> bytes:
    """Return the text for ``backends``, from ``template`` or else from the ``current`` file.

    Raises: RenderError, also when the text has other servers than ``backends``.
    """
    text = _fill(template, backends) if template else _rewrite(current, backends)
    if missing := lacks(text, backends):
        source = f"what {template} makes" if template else "the file"
        message = f"{source} is not what is wanted: {missing}"
        raise RenderError(message)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        message = f"{template}: {error.reason}: {error.object[error.start]!r}"
        raise RenderError(message) from None


def _rewrite(current: bytes | None, backends: Sequence[Backend]) -> str:
    if current is None:
        raise RenderError("there is no such file, and no `template` to make it from")
    try:
        return with_servers(current.decode("utf-8", "surrogateescape"), backends)
    except ValueError as error:
        raise RenderError(str(error)) from None


def _fill(template: Path, backends: Iterable[Backend]) -> str:
    # Nobody without a template pays for it: 40 ms, 5 MB.
    from jinja2 import FileSystemLoader, StrictUndefined  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        loader=FileSystemLoader(template.parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML
    )
    facts = {backend.name: [*map(_facts, backend.servers)] for backend in backends}
    deadline = time.monotonic() + RENDER_S
    parts: list[str] = []
    length = 0
    try:
        for part in environment.get_template(template.name).generate(backends=facts):
            parts.append(part)
            length += len(part)
            if length > MAX_TEXT or time.monotonic() > deadline:
                message = f"{template}: makes no end of text"
                raise RenderError(message)
    except RenderError:
        raise
    except Exception as error:  # A template may run into anything.
        message = f"{template}{_place(error, template)}: {_why(error)}"
        raise RenderError(message) from None
    return "".join(parts)


def _facts(server: Server) -> Mapping[str, object]:
    return {
        "name": server.name,
        "address": str(server.address),
        "port": server.port,
        "endpoint": endpoint(server),
        "weight": server.weight,
        "check": server.check,
        "line": line(server),
    }


def _place(error: BaseException, template: Path) -> str:
    """Return the line of the template that ``error`` is about, as ``:3``."""
    number = getattr(error, "lineno", None)
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(template):
            number = step.tb_lineno
        step = step.tb_next
    return "" if number is None else f":{number}"


def _why(error: BaseException) -> str:
    return str(getattr(error, "message", None) or error) or type(error).__name__
