"""The tap: datagrams from and to our ports, at both ends, and nothing else."""

import os
import select
import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from haagent.adapters.link.capture import Tapped, open_tap, read
from haagent.lab.agents import with_capabilities
from tests.adapters.conftest import Pair

SAY = """
import socket, sys
source, port, target, to, text = sys.argv[1:]
family = socket.AF_INET6 if ":" in source else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.bind((source, int(port)))
    s.sendto(text.encode(), (target, int(to)))
"""


def say_far(pair: Pair, source: tuple[str, int], target: tuple[str, int], text: str) -> None:
    ends = (*map(str, source), *map(str, target))
    pair.run_far(sys.executable, "-c", SAY, *ends, text)


def next_of(tap: socket.socket) -> Tapped:
    assert select.select([tap], [], [], 5)[0], "nothing within 5 s"
    tapped = read(tap)
    assert tapped is not None
    return tapped


ENDS = [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")]


@pytest.mark.parametrize(("near", "far"), ENDS)
def test_what_comes_to_or_from_a_port_is_seen_with_the_mac_of_its_sender(
    pair: Pair, near: str, far: str
) -> None:
    mac = pair.run_far("cat", "/sys/class/net/eth0/address").strip()
    with open_tap("eth0", [6940, 6941], sent_too=False) as tap:
        say_far(pair, (far, 7000), (near, 7001), "none of ours")
        say_far(pair, (far, 7000), (near, 6940), "to")
        say_far(pair, (far, 6941), (near, 7001), "from")

        first, second = next_of(tap), next_of(tap)

        assert (first.datagram.payload, second.datagram.payload) == (b"to", b"from")
        assert (first.mac, first.interface, first.sent) == (mac, "eth0", False)
        assert first.datagram.source == ip_address(far)
        assert first.datagram.ttl == 64
        assert read(tap) is None


def test_what_this_host_sends_is_seen_if_wanted(pair: Pair) -> None:
    with (
        open_tap("eth0", [6940], sent_too=True) as tap,
        open_tap("eth0", [6940], sent_too=False) as deaf,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
    ):
        ours.sendto(b"ours", ("10.77.0.2", 6940))

        assert next_of(tap).sent
        say_far(pair, ("10.77.0.2", 7000), ("10.77.0.1", 6940), "theirs")
        assert next_of(deaf).datagram.payload == b"theirs"


def test_whoever_listens_on_the_port_still_hears_it(pair: Pair) -> None:
    with (
        open_tap("eth0", [6940], sent_too=False) as tap,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent,
    ):
        agent.settimeout(5)
        agent.bind(("10.77.0.1", 6940))
        say_far(pair, ("10.77.0.2", 7000), ("10.77.0.1", 6940), "for both")

        assert agent.recv(100) == b"for both"
        assert next_of(tap).datagram.payload == b"for both"


def test_an_interface_that_is_not_there_is_named(pair: Pair) -> None:
    with pytest.raises(OSError, match="cannot listen on eth9: No such device"):
        open_tap("eth9", [6940], sent_too=False)


def test_sniff_shows_what_comes_and_ends_after_count(pair: Pair) -> None:
    options = ["-i", "eth9", "-i", "eth0", "--count", "1"]
    command = [sys.executable, "-m", "haagent", "sniff", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sniff:
        assert sniff.stderr is not None
        # One that is not there is no reason not to listen on the others.
        assert sniff.stderr.readline() == "haagent: cannot listen on eth9: No such device\n"
        assert sniff.stderr.readline() == "listening on eth0\n"
        say_far(pair, ("10.77.0.2", 7000), ("10.77.0.1", 6940), "garbage")
        out, _ = sniff.communicate(timeout=10)

    assert out.split("  ", 1)[1] == (
        "eth0  10.77.0.2 > 10.77.0.1 ttl 64  unverified  malformed: 7 bytes\n"
    )
    assert sniff.returncode == 0


def test_sniff_without_the_right_to_listen_says_which(pair: Pair) -> None:
    assert os.geteuid() == 0
    command = [*with_capabilities(), sys.executable, "-m", "haagent", "sniff", "-i", "eth0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "haagent: cannot listen on eth0: Operation not permitted (needs CAP_NET_RAW)\n"
    )
