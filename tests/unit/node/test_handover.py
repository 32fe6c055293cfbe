"""What crosses the border between the two processes of a node arrives as it was."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from haagent.config import load_node
from haagent.core.appnode.settings import NodePathSettings, NodeSettings, ServiceSettings
from haagent.core.checks import CheckSettings, CommandCheck, HTTPCheck, PingCheck, TCPCheck
from haagent.core.units import DurationNs
from haagent.node.handover import Handover, pack, unpack

CONF = Path(__file__).parents[3] / "conf"

names = st.text("abc-.9", min_size=1, max_size=5)
addresses = st.builds(IPv4Address, st.integers(1, 2**32 - 1)) | st.builds(
    IPv6Address, st.integers(1, 2**128 - 1)
)
durations = st.integers(1, 10**12).map(DurationNs)
counts = st.integers(1, 100)
paths = st.builds(
    NodePathSettings, interface=names, group=addresses, agents=st.lists(addresses).map(tuple)
)
kinds = (
    st.builds(TCPCheck, addresses, counts)
    | st.builds(HTTPCheck, url=names, status=st.tuples(counts, counts), host=names)
    | st.builds(CommandCheck, st.lists(st.text()).map(tuple), st.none() | st.text())
)
checks = st.builds(
    CheckSettings,
    name=names,
    what=kinds,
    interval=durations,
    timeout=durations,
    rise=counts,
    fall=counts,
)
services = st.builds(
    ServiceSettings, name=names, port=counts, weight=counts, check=st.none() | checks
)
settings = st.builds(
    NodeSettings,
    node=names,
    cluster=names,
    paths=st.lists(paths, min_size=1, max_size=3).map(tuple),
    services=st.lists(services, min_size=1, max_size=3).map(tuple),
    node_class=names,
    address=st.none() | addresses,
    interval=durations,
    port=counts,
)


@given(st.builds(Handover, settings, st.binary(min_size=32, max_size=32)))
def test_what_is_unpacked_is_what_was_packed(handover: Handover) -> None:
    text = pack(handover)

    assert unpack(text) == handover
    assert text.isascii()
    assert "\n" not in text


def test_the_full_example_passes() -> None:
    handover = Handover(load_node(CONF / "node.yml").settings, bytes(range(32)))

    assert unpack(pack(handover)) == handover
    assert unpack(pack(replace(handover, key=bytes(32)))) != handover


def test_a_kind_of_check_that_no_node_has_is_refused() -> None:
    check = CheckSettings(
        name="app", what=PingCheck(IPv4Address("192.0.2.1")), timeout=DurationNs(1)
    )
    settings = NodeSettings(
        node="app1",
        cluster="shop",
        paths=(NodePathSettings(interface="eth0"),),
        services=(ServiceSettings(name="app", port=80, check=check),),
    )

    with pytest.raises(KeyError):
        unpack(pack(Handover(settings, bytes(32))))


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"settings": {}, "key": ""}', "[]", '{"settings": {"more": 1}, "key": "00"}'],
)
def test_what_another_version_says_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack(text)
