"""Ends connections that gRPC would wait for without limit."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def hang_up(is_ours: Callable[[socket.socket], bool]) -> None:
    """End those of this process's connections that ``is_ours`` says yes to.

    A client that was stopped, and whose socket is full, would else hold the agent back: gRPC
    closes no connection before its last write is through, and has no limit for that.
    """
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # Closed since it was listed.
            if entry.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as one:
                    if is_ours(one):
                        one.shutdown(socket.SHUT_RDWR)
