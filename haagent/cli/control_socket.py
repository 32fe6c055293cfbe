"""Where the agent listens that a command asks."""

from pathlib import Path

DEFAULT_SOCKET = Path("/run/haagent/control.sock")


def control_socket(socket: Path | None, config: Path | None) -> Path:
    """Return ``socket`` if it is given, else the one that ``config`` names, else the default.

    Exits with 2 when ``config`` cannot be used.
    """
    if socket is not None or config is None:
        return socket or DEFAULT_SOCKET
    from haagent.cli.configuration import read  # noqa: PLC0415

    return read(config).control_socket
