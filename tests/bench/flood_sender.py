"""Floods one UDP port, and notes when the heartbeats of the flooded agent arrive.

``python -m tests.bench.flood_sender KIND ADDRESS SOURCE RATE SECONDS`` prints one JSON object:
how many datagrams it sent, and when heartbeats came, in CLOCK_MONOTONIC nanoseconds.

``random`` sends 128 random bytes.  ``forged`` sends datagrams with a prefix of cluster ``shop``
and group ``web``, so that the agent must compute their code to find that it is wrong.
"""

import argparse
import json
import os
import socket
import struct
import time

from haagent.core.identity import cluster_id, group_id

PORT = 6940
_GROUP = "224.0.0.254"
_SIZE = 128


def payload(kind: str) -> bytes:
    """Return the datagram to send."""
    body = os.urandom(_SIZE)
    if kind == "random":
        return body
    prefix = struct.pack(
        "!2sBxHxBIHxB", b"HA", 0x10, _SIZE, 1, cluster_id("shop"), group_id("web"), 0
    )
    return prefix + body[len(prefix) :]


def flood(kind: str, address: str, rate: int, seconds: float) -> tuple[int, list[int]]:
    """Send for ``seconds``; return the number sent and when heartbeats of ``address`` came."""
    with _listener() as heartbeats, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        # What comes from beyond a router is thrown away even earlier.
        out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        out.connect((address, PORT))
        data, sent, heard = payload(kind), 0, []
        start = time.monotonic_ns()
        while (now := time.monotonic_ns()) < start + seconds * 1e9:
            if _came_from(heartbeats, address):
                heard.append(now)
            if sent < (now - start) * rate / 1e9:
                out.send(data)
                sent += 1
        return sent, heard


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setblocking(False)
    membership = struct.pack("=4s4si", socket.inet_aton(_GROUP), bytes(4), 0)
    index = struct.pack("=i", socket.if_nametoindex("eth0"))
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership[:8] + index)
    listener.bind((_GROUP, PORT))
    return listener


def _came_from(heartbeats: socket.socket, address: str) -> bool:
    try:
        _, (source, _) = heartbeats.recvfrom(2048)
    except BlockingIOError:
        return False
    return bool(source == address)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("random", "forged"))
    parser.add_argument("address")
    parser.add_argument("rate", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    count, arrivals = flood(given.kind, given.address, given.rate, given.seconds)
    print(json.dumps({"sent": count, "heard_ns": arrivals}))
