"""An agent under a service manager, which here plays systemd's part in a planned restart.

It is notified over a real socket, and holds the descriptors that the agent gives it until the
next process has them.  Messages that nobody waits for are thrown away.

Source: sd_notify(3), sd_listen_fds(3), ``deploy/systemd/haagent.service``.
"""

import os
import signal
import socket
from types import TracebackType

from haagent.lab.agents import Agent
from haagent.lab.process import Process

_PASS_ON = 'LISTEN_PID=$$ exec "$@"'
_MOST = 8


class Service:
    """See the module docstring.  Ends with its ``with`` block; the agent does not."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._address = str(agent.host.directory / "notify.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._kept: list[int] = []
        self._names: list[str] = []

    def __enter__(self) -> "Service":
        self._socket.bind(self._address)
        self._socket.settimeout(0.01)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._forget()
        self._socket.close()

    def start(self, *wrapper: str) -> Process:
        """Start the agent with what an earlier one has left to it."""
        environment = {"NOTIFY_SOCKET": self._address}
        if not self._kept:
            return self.agent.start(*wrapper, environment=environment)
        places = [f"{place}<&{kept}-" for place, kept in enumerate(self._kept, 3)]
        environment |= {"LISTEN_FDS": str(len(places)), "LISTEN_FDNAMES": ":".join(self._names)}
        listen = ("bash", "-c", " ".join([_PASS_ON, *places]), "bash")
        return self.agent.start(
            *wrapper, *listen, environment=environment, descriptors=tuple(self._kept)
        )

    def restart(self, *wrapper: str) -> int:
        """Do as ``systemctl restart``; return the instant just before."""
        moment = self.leave()
        self.agent.release()
        self.start(*wrapper)
        return moment

    def leave(self) -> int:
        """Do the first half of it: end the agent, and keep what it leaves to the next one."""
        process = self.agent.process
        moment = process.ask_to_restart()
        while self._listen():
            pass  # SIGTERM comes from another process, some time later.
        os.kill(process.pid, signal.SIGTERM)
        while process.running:
            self._listen()
        return moment

    def _listen(self) -> bool:
        """Take in one message; return False when none came for a while."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, _MOST)
        except TimeoutError:
            return False
        lines = message.decode().splitlines()
        if "FDSTOREREMOVE=1" in lines:
            self._forget()
        if "FDSTORE=1" in lines:
            self._kept += descriptors
            self._names += [line[7:] for line in lines if line.startswith("FDNAME=")]
        else:
            for descriptor in descriptors:  # BARRIER=1: closing it is the answer.
                os.close(descriptor)
        return True

    def _forget(self) -> None:
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept, self._names = [], []
