"""One real HAProxy on a host, with its Runtime API in the host's directory."""

import csv
import socket
from dataclasses import dataclass
from pathlib import Path

from haagent.lab.errors import LabError
from haagent.lab.host import Host
from haagent.lab.process import Process


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a backend, as HAProxy has it."""

    address: str
    """ADDRESS:PORT."""
    status: str
    """HAProxy's word: ``UP``, ``DOWN``, ``MAINT``, ``no check`` ..."""
    weight: int
    """0..256."""


class HAProxy:
    """See the module docstring."""

    def __init__(self, host: Host, configuration: str) -> None:
        self.host = host
        self.socket = self.socket_on(host)
        self.configuration_file = host.directory / "haproxy.cfg"
        self.configuration_file.write_text(configuration)
        self._process: Process | None = None

    @staticmethod
    def socket_on(host: Host) -> Path:
        """Return the path of the Runtime API's socket, whether or not HAProxy runs."""
        return host.directory / "haproxy.sock"

    @property
    def process(self) -> Process:
        """The process that was started last."""
        if self._process is None:
            text = f"no HAProxy was started on {self.host.name}"
            raise LabError(text)
        return self._process

    def start(self, *options: str) -> Process:
        """Start it in the foreground, also again after its end."""
        environment = {"HAAGENT_HAPROXY_SOCKET": str(self.socket), "HAAGENT_HOST": self.host.name}
        command = ("haproxy", "-db", *options, "-f", str(self.configuration_file))
        self._process = self.host.start("haproxy", *command, environment=environment)
        return self._process

    def ask(self, command: str) -> str:
        """Return the answer of the Runtime API.

        Raises: OSError while HAProxy does not run.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def answers(self) -> bool:
        """Return whether the Runtime API answers."""
        try:
            return bool(self.ask("show info"))
        except OSError:
            return False

    def servers(self, backend: str) -> dict[str, Server]:
        """Return the servers of ``backend`` by name.

        Raises: OSError while HAProxy does not run.
        """
        rows = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
        return {
            row["svname"]: Server(row["addr"], row["status"], int(row["weight"]))
            for row in rows
            if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")
        }
