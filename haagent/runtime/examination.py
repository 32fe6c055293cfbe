"""Has the doctor look for whoever may open the control socket, but has no privilege of his own.

The doctor is a process of its own, beside the loop, with the two capabilities that listening and
asking take; it gets the file, reads it as the agent would, and changes nothing.

What this module does not do: look or judge (``haagent.doctor``).
"""

import asyncio
import base64
import os
import sys
from asyncio import Future
from functools import partial
from pathlib import Path

from google.protobuf.message import DecodeError

from haagent.adapters.programs import Ended, run
from haagent.adapters.programs.in_thread import in_thread
from haagent.control.haagent_pb2 import DoctorReply, DoctorRequest

SHORTEST_S, LONGEST_S = 1.0, 600.0
"""How long it may listen."""

MORE_S = 30.0
"""How much longer it may take: a HAProxy or a firewall that does not answer is waited for."""

_MOST_BYTES = 1 << 20

_CAPABILITIES = ("net_admin", "net_raw")
"""To read the firewall's rules; to listen and to ask."""


class Examination:
    """See the module docstring.  To be used inside one event loop."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._running: Future[Ended] | None = None

    async def examine(self, request: DoctorRequest) -> DoctorReply:
        """Return what is wrong, or why nobody can look.  Who is cancelled has the process end."""
        if not SHORTEST_S <= request.seconds <= LONGEST_S:
            return DoctorReply(trouble=f"listening takes {SHORTEST_S:.0f} to {LONGEST_S:.0f} s")
        if self._running is not None and not self._running.done():
            return DoctorReply(trouble="another examination is under way")
        stop = os.eventfd(0, os.EFD_CLOEXEC)
        # Each end has a descriptor of its own: the thread may outlive the loop.
        work = partial(self._run, request.seconds, os.dup(stop))
        running = asyncio.ensure_future(in_thread(work))
        running.add_done_callback(lambda _: os.close(stop))
        self._running = running
        try:
            return _reply(await asyncio.shield(running))
        except asyncio.CancelledError:
            if not running.done():
                os.eventfd_write(stop, 1)
            raise

    def _run(self, seconds: float, stop: int) -> Ended:
        words = ("-I", "-m", "haagent.doctor", os.fspath(self._config.absolute()), f"{seconds:g}")
        try:
            return run(
                [sys.executable, *words],
                timeout_s=seconds + MORE_S,
                user="root" if os.geteuid() == 0 else None,
                capabilities=_CAPABILITIES,
                stop=stop,
                most_bytes=_MOST_BYTES,
            )
        finally:
            os.close(stop)


def _reply(ended: Ended) -> DoctorReply:
    if not ended.ok:
        return DoctorReply(trouble=ended.text)
    try:
        return DoctorReply.FromString(base64.b64decode(ended.output.splitlines()[-1]))
    except (IndexError, ValueError, DecodeError):
        return DoctorReply(trouble="the doctor has told nothing that can be read")
