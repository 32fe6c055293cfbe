"""The raw socket: it speaks from the agents' port, and hears beside whoever has that port."""

import select
import socket
from ipaddress import IPv6Address, ip_address

import pytest

from haagent.adapters.datagrams.raw import RawUdp
from haagent.core.settings import MULTICAST_IPV4, MULTICAST_IPV6, IPAddress, PathSettings
from haagent.wire.udp import UdpDatagram
from tests.adapters.conftest import Pair
from tests.adapters.test_capture import say_far

ENDS: list[tuple[IPAddress, IPAddress, IPAddress]] = [
    (ip_address("10.77.0.1"), ip_address("10.77.0.2"), MULTICAST_IPV4),
    (ip_address("fd77::1"), ip_address("fd77::2"), MULTICAST_IPV6),
]

HEAR = """
import socket, struct, sys
target, index = sys.argv[1], socket.if_nametoindex("eth0")
with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("", 6940))
    if ":" in target:
        group = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, target), index)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    else:
        group = struct.pack("=4s4si", socket.inet_aton(target), bytes(4), index)
        s.setsockopt(socket.IPPROTO_IP, 12, 1)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    print("listening", flush=True)
    data, ancillary, _, sender = s.recvmsg(100, 100)
    ttl = int.from_bytes(ancillary[0][2], sys.byteorder)
    print(data.decode(), sender[0], sender[1], ttl, flush=True)
"""


def path(group: IPAddress) -> PathSettings:
    return PathSettings(interface="eth0", group=group)


def next_of(raw: RawUdp) -> UdpDatagram:
    assert select.select([raw.socket], [], [], 5)[0], "nothing within 5 s"
    datagram = raw.read()
    assert datagram is not None
    return datagram


@pytest.mark.parametrize(("near", "far", "group"), ENDS)
def test_what_is_sent_comes_from_the_port_with_the_greatest_hop_limit(
    pair: Pair, near: IPAddress, far: IPAddress, group: IPAddress
) -> None:
    with pair.start_far(HEAR, str(group)) as far_end:
        assert far_end.stdout is not None
        assert far_end.stdout.readline() == "listening\n"
        raw = RawUdp(path(group), near, 6940)
        for _ in range(50):
            # A young interface has no route for IPv6 multicast yet.
            raw.send(group, b"asked")
            if select.select([far_end.stdout], [], [], 0.1)[0]:
                break
        else:
            pytest.fail("nothing arrived within 5 s")

        assert far_end.stdout.readline() == f"asked {near} 6940 255\n"
        raw.close()


@pytest.mark.parametrize(("near", "far", "group"), ENDS)
def test_what_is_heard_is_not_taken_from_the_agent(
    pair: Pair, near: IPAddress, far: IPAddress, group: IPAddress
) -> None:
    raw = RawUdp(path(group), near, 6940)
    family = socket.AF_INET6 if isinstance(near, IPv6Address) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as agent:
        agent.settimeout(5)
        agent.bind(("", 6940))
        say_far(pair, (str(far), 7000), (str(near), 7001), "for another port")
        say_far(pair, (str(far), 7000), (str(near), 6940), "for both")

        assert agent.recv(100) == b"for both"
        assert next_of(raw) == UdpDatagram(
            source=far,
            destination=near,
            ttl=64,
            source_port=7000,
            destination_port=6940,
            payload=b"for both",
        )
    assert raw.read() is None
    raw.close()


def test_what_the_firewall_drops_is_not_heard(pair: Pair) -> None:
    near, far, group = ENDS[0]
    rules = "table inet t { chain i { type filter hook input priority 0; udp dport 6940 drop; }; }"
    raw = RawUdp(path(group), near, 6940)
    pair.run_near("nft", rules)
    say_far(pair, (str(far), 7000), (str(near), 6940), "dropped")
    pair.run_near("nft", "flush ruleset")
    say_far(pair, (str(far), 7000), (str(near), 6940), "let in")

    assert next_of(raw).payload == b"let in"
    raw.close()
