"""ICMP echo against the kernel of another host."""

import time
from ipaddress import ip_address

import pytest

from haagent.adapters.checks.kinds import perform
from haagent.core.checks import PingCheck

from .conftest import Pair


@pytest.mark.parametrize("address", ["10.77.0.2", "fd77::2"])
def test_a_host_that_answers_passes(address: str, pair: Pair) -> None:
    result = perform(PingCheck(ip_address(address)), 2.0)

    assert result.passed, result.text
    assert result.text.startswith("answered in ")


@pytest.mark.parametrize("address", ["10.77.0.2", "fd77::2"])
def test_a_host_that_does_not_answer_fails_at_the_limit(address: str, pair: Pair) -> None:
    assert perform(PingCheck(ip_address(address)), 2.0).passed
    pair.run_far("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    pair.run_far("sysctl", "-qw", "net.ipv6.icmp.echo_ignore_all=1")
    began_s = time.monotonic()

    result = perform(PingCheck(ip_address(address)), 0.3)

    assert (result.passed, result.text) == (False, "no answer in 0.3 s")
    assert 0.3 <= time.monotonic() - began_s < 3


def test_a_host_without_a_route_fails_at_once(pair: Pair) -> None:
    result = perform(PingCheck(ip_address("198.51.100.1")), 2.0)

    assert (result.passed, result.text) == (False, "network is unreachable")
