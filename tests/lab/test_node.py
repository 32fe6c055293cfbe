"""An app node as the network sees it: its pace, its news, its answers, its end."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from haagent.config import new_key, read_key
from haagent.core.identity import node_id
from haagent.core.messages import Discard, NodeHeartbeat
from haagent.lab.host import Host
from haagent.lab.nodes import Node, node_text
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from haagent.wire.node import AgentEnd

MS = 1_000_000
SECOND = 1000 * MS

EAR = """
import socket, struct, sys, time
sys.path.insert(0, sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    index = socket.if_nametoindex("eth0")
    group = struct.pack("=4s4si", socket.inet_aton("224.0.0.254"), bytes(4), index)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    s.bind(("", 6941))
    print("listening", flush=True)
    while True:
        payload, (source, port) = s.recvfrom(2048)
        print(time.monotonic_ns(), source, port, payload.hex(), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """One heartbeat, and when it arrived."""

    at_ns: int
    port: int
    heartbeat: NodeHeartbeat


@dataclass(frozen=True, slots=True)
class Scene:
    """A host that listens where an agent would, and a node that is not started."""

    lab: Lab
    ear: Process
    end: AgentEnd
    node: Node

    def heard(self, since_ns: int = 0) -> list[Heard]:
        """Every heartbeat so far; all that arrives must be one."""
        found = []
        for line in self.ear.log_text().splitlines()[1:]:
            at_ns, source, port, payload = line.split()
            heartbeat = self.end.decode(bytes.fromhex(payload))
            assert not isinstance(heartbeat, Discard), heartbeat
            assert source == "192.0.2.21"
            if int(at_ns) >= since_ns:
                found.append(Heard(int(at_ns), int(port), heartbeat))
        return found

    def until(self, count: int, since_ns: int = 0) -> list[Heard]:
        """So many heartbeats, once they have been heard."""
        return self.lab.wait_until(
            lambda: found if len(found := self.heard(since_ns)) >= count else None,
            20,
            f"{count} heartbeats",
        )

    def says(self, word: str) -> bool:
        return word in self.node.process.log_text()

    def until_said(self, word: str) -> None:
        self.lab.wait_until(lambda: self.says(word), 15, word)


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    agent, app = lab.add_host("lb1", 11), lab.add_host("app1", 21)
    key_file = agent.directory / "cluster.key"
    key_file.touch(0o600)
    key_file.write_text(new_key())
    ear = agent.start("ear", sys.executable, "-c", EAR)
    lab.wait_until(ear.log_text, 10, "it listens")
    end = AgentEnd(read_key(key_file), "shop")
    yield Scene(lab, ear, end, Node(app, node_text("app1"), key_file))
"""
"""
