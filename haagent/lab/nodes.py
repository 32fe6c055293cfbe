"""One app node of haagent on a host, started as an operator would, with a key of its own.

Configuration and key live in the host's directory; the caller's text may name another place for
the key, as the file in ``conf/`` does.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from haagent.lab.errors import LabError
from haagent.lab.host import Host
from haagent.lab.process import Process


def node_text(name: str, *, service: str = "app", port: int = 8080, check: str = "") -> str:
    """Return a configuration by multicast on eth0; ``check`` is a mapping in YAML."""
    lines = [
        f"node: {name}",
        "cluster: shop",
        "key_file: node.key",
        "heartbeat: {paths: [{interface: eth0}]}",
        f"services: {{{service}: {{port: {port}{check and f', check: {check}'}}}}}",
    ]
    return "\n".join(lines) + "\n"


class Node:
    """See the module docstring."""

    def __init__(self, host: Host, configuration: str, cluster_key_file: Path) -> None:
        """Write the configuration, and make the key from that of the agents."""
        self.host = host
        self.configuration_file = host.directory / "node.yml"
        self.key_file = host.directory / "node.key"
        self.configure(configuration)
        self._make_key(cluster_key_file)
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The process that was started last."""
        if self._process is None:
            text = f"no node was started on {self.host.name}"
            raise LabError(text)
        return self._process

    def configure(self, configuration: str) -> None:
        """Write the configuration; the node reads it at its next start or SIGHUP."""
        own = f"key_file: {self.key_file}"
        text = re.sub(r"^key_file:.*$", own, configuration, flags=re.MULTILINE)
        self.configuration_file.write_text(text)

    def start(self, *wrapper: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start ``haagent node``, also again after its end; ``wrapper`` is what executes it."""
        command = (sys.executable, "-m", "haagent", "node", "-c", str(self.configuration_file))
        self._process = self.host.start("node", *wrapper, *command, environment=environment)
        return self._process

    def _make_key(self, cluster_key_file: Path) -> None:
        self.key_file.unlink(missing_ok=True)
        names = [f"--node={self._word('node')}", f"--cluster={self._word('cluster')}"]
        arguments = ["keygen", *names, f"--from={cluster_key_file}", str(self.key_file)]
        subprocess.run([sys.executable, "-m", "haagent", *arguments], check=True)

    def _word(self, key: str) -> str:
        found = re.search(rf"^{key}: *(\S+)", self.configuration_file.read_text(), re.MULTILINE)
        if not found:
            text = f"{self.configuration_file}: no {key}"
            raise LabError(text)
        return found[1]
