"""What crosses the border between the two processes of a node arrives as it was."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from haagent.config import load_node
from haagent.core.node_settings import (
    NodePathSettings,
    NodeSettings,
    Probe,
    ServiceCheckSettings,
    ServiceSettings,
)
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
checks = st.builds(
    ServiceCheckSettings,
    probe=st.sampled_from(Probe),
    target=st.lists(st.text()).map(tuple),
    user=st.none() | st.text(),
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


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"settings": {}, "key": ""}', "[]", '{"settings": {"more": 1}, "key": "00"}'],
)
def test_what_another_version_says_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack(text)
