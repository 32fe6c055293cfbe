"""A fleet of app nodes in one process: real datagrams, each node from an address of its own.

``python -m tests.bench.fleet_sender KEY_FILE CLUSTER AGENT COUNT SECONDS`` has ``COUNT`` nodes of
the class ``default``, ``app00000`` and so on, each send one heartbeat a second to ``AGENT``, at its
own moment of the second, and answer what the agent asks.  It prints the number of heartbeats
sent.  With ``--silence EACH`` another node dies every EACH seconds, just after a heartbeat; its
name and the instant are printed (ns since 1970).  All of 198.18.0.0/15 must be local to this host
(RFC 2544: networks for benchmarks).

What this module does not do: jitter, load, or another pace than one second.
"""

import argparse
import socket
import struct
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from haagent.config import read_key
from haagent.core.identity import boot_id, node_id
from haagent.core.messages import Load, NodeAck, NodeHeartbeat, Service
from haagent.wire.auth import derive_node_key
from haagent.wire.node import NodeEnd

NETWORK = "198.18.0.0/15"
PORT = 6941
_FIRST = IPv4Address("198.18.1.0")
_IP_PKTINFO = 8
_SERVICES = (Service(name="web", port=8080, weight=100, healthy=True),)
_BUFFER = 16 << 20
_SO_RCVBUFFORCE = 33


class Node:
    """One app node of many."""

    def __init__(self, number: int, cluster_key: bytes, cluster: str) -> None:
        self.name = name = f"app{number:05d}"
        self.lives = True
        address = _FIRST + number
        self._wire = NodeEnd(derive_node_key(cluster_key, cluster, node_id(name)), cluster, name)
        self._says = NodeHeartbeat(
            sender=node_id(name),
            boot=boot_id(int(time.time()), number),  # noqa: TID251  # as an app node counts
            sequence=0,
            path=0,
            interval_ms=1000,
            nonce=0,
            leaving=False,
            load=Load(cpu_permille=100, memory_permille=300, queue_percent=50),
            name=name,
            node_class="default",
            address=address,
            services=_SERVICES,
        )
        self.control = [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", 0, address.packed))]

    def next(self) -> bytes:
        """Return its next heartbeat."""
        self._says = replace(self._says, sequence=self._says.sequence + 1)
        return self._wire.encode(self._says)

    def hear(self, payload: bytes) -> None:
        """Take an answer."""
        ack = self._wire.decode(payload)
        if isinstance(ack, NodeAck):
            self._says = replace(self._says, nonce=ack.nonce)


def send(nodes: list[Node], agent: str, seconds: float, silence_each_s: float) -> int:
    """Have every living node send once a second; return how many heartbeats that made."""
    sent = dead = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            due = int(passed * len(nodes))
            for number in range(sent, due):
                node = nodes[number % len(nodes)]
                if not node.lives:
                    continue
                sock.sendmsg([node.next()], node.control, 0, (agent, PORT))
                if passed > (dead + 1) * silence_each_s:
                    node.lives, dead = False, dead + 1
                    print(node.name, time.time_ns(), flush=True)
            sent = max(sent, due)
            _answer(sock, nodes, agent)
            time.sleep(0.001)  # noqa: TID251  # a pace, not a wait
    return sent


def _answer(sock: socket.socket, nodes: list[Node], agent: str) -> None:
    while True:
        try:
            payload, ancillary, _, _ = sock.recvmsg(2048, 64)
        except BlockingIOError:
            return
        node = nodes[int(IPv4Address(ancillary[0][2][8:12])) - int(_FIRST)]
        if not node.lives:
            continue
        node.hear(payload)
        sock.sendmsg([node.next()], node.control, 0, (agent, PORT))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key_file", type=Path)
    parser.add_argument("cluster")
    parser.add_argument("agent")
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--silence", type=float, default=float("inf"), metavar="EACH")
    given = parser.parse_args()
    key = read_key(given.key_file)
    fleet = [Node(number, key, given.cluster) for number in range(given.count)]
    print("ready", flush=True)
    print(send(fleet, given.agent, given.seconds, given.silence))
    sys.exit()
