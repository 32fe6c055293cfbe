"""One agent of haagent on a host, started and asked as an operator would.

Configuration, key, state and sockets live in the host's directory.  The caller's text may name
other places, as the files in ``conf/`` do: the keys ``key_file``, ``state_dir`` and
``control_socket`` at top level and HAProxy's ``socket`` are set to the laboratory's, each in its
line.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from haagent.lab.errors import LabError
from haagent.lab.haproxies import HAProxy
from haagent.lab.host import Host
from haagent.lab.process import Process

_HAPROXY_SOCKET = "/run/haproxy/admin.sock"
"""Of the files in ``conf/``, where a check has it as well."""

_WELL, _TROUBLED, _NOT_REACHABLE = 0, 1, 3
"""Exit codes of ``haagent status``; a troubled cluster has a status all the same."""


def with_capabilities(*names: str) -> tuple[str, ...]:
    """Return what executes a command as root without any right but ``names``, as for setpriv."""
    allowed = ",".join(["-all", *(f"+{name}" for name in names)])
    return (
        "setpriv",
        # Root without the rights of root, and not another user, to whom a clone in somebody's
        # home directory may be closed.
        "--securebits=+noroot,+noroot_locked",
        f"--inh-caps={allowed}",
        f"--ambient-caps={allowed}",
        f"--bounding-set={allowed}",
    )


class Agent:
    """See the module docstring."""

    def __init__(self, host: Host, configuration: str, key: str) -> None:
        self.host = host
        self.configuration_file = host.directory / "haagent.yml"
        self.key_file = host.directory / "cluster.key"
        self.state_dir = host.directory / "state"
        self.control_socket = host.directory / "control.sock"
        self.state_dir.mkdir(exist_ok=True)
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(key)
        self.configure(configuration)
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The process that was started last."""
        if self._process is None:
            text = f"no agent was started on {self.host.name}"
            raise LabError(text)
        return self._process

    def configure(self, configuration: str) -> None:
        """Write the configuration; the agent reads it at its next start or reload."""
        own = {
            "key_file": self.key_file,
            "state_dir": self.state_dir,
            "control_socket": self.control_socket,
        }
        haproxy_socket = HAProxy.socket_on(self.host)
        # In their place, so that the line numbers of an error stay the caller's.
        lines = []
        for given in configuration.replace(_HAPROXY_SOCKET, str(haproxy_socket)).splitlines():
            line, key = given, given.partition(":")[0]
            if key in own:
                line = f"{key}: {own.pop(key)}"
            elif key == "  socket":
                line = f"{key}: {haproxy_socket}"
            lines.append(line)
        lines += [f"{key}: {path}" for key, path in own.items()]
        self.configuration_file.write_text("\n".join(lines) + "\n")

    def start(
        self,
        *wrapper: str,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Process:
        """Start ``haagent run``, also again after its end; ``wrapper`` is what executes it.

        The process inherits ``descriptors``.
        """
        command = (sys.executable, "-m", "haagent", "run", "-c", str(self.configuration_file))
        self._process = self.host.start(
            "agent", *wrapper, *command, environment=environment, descriptors=descriptors
        )
        return self._process

    def reload(self) -> "subprocess.CompletedProcess[str]":
        """Run ``haagent reload``, as systemd does; return how it ended."""
        return self.ask("reload")

    def ask(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run ``haagent command``, as an operator does; return how it ended."""
        arguments = (command, *options, "--socket", str(self.control_socket))
        line = (sys.executable, "-m", "haagent", *arguments)
        return subprocess.run(line, check=False, capture_output=True, text=True)

    def release(self) -> str:
        """Run ``haagent release``, as systemd does after a stop; return what it says."""
        arguments = ("release", "-c", str(self.configuration_file))
        return self.host.run(sys.executable, "-m", "haagent", *arguments)

    def watch(self) -> Process:
        """Start ``haagent status --watch --json``: a line in its log for each change."""
        arguments = ("status", "--watch", "--json", "--socket", str(self.control_socket))
        return self.host.start_module("watch", "haagent", *arguments)

    def status(self) -> dict[str, Any] | None:
        """Return what ``haagent status --json`` says; None while the agent is not reachable.

        Raises: LabError when the command fails otherwise.
        """
        arguments = ["status", "--json", "--socket", str(self.control_socket)]
        command = ["ip", "netns", "exec", self.host.namespace, sys.executable, "-m", "haagent"]
        done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
        if done.returncode == _NOT_REACHABLE:
            return None
        if done.returncode not in {_WELL, _TROUBLED} or not done.stdout:
            text = f"haagent status: exit {done.returncode}: {done.stderr.strip()}"
            raise LabError(text)
        status: dict[str, Any] = json.loads(done.stdout)
        return status
