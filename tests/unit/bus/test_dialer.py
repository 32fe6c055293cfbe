"""Where a peer is connected to."""

from ipaddress import ip_address

import pytest

from haagent.bus.dialer import target
from haagent.core.status import PathStatus
from haagent.core.units import MonoNs


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("192.0.2.12", "ipv4:192.0.2.12:6943"),
        ("2001:db8::12", "ipv6:%5B2001%3Adb8%3A%3A12%5D:6943"),
        ("fe80::12", "ipv6:%5Bfe80%3A%3A12%25eth1.7%5D:6943"),
    ],
)
def test_a_target_is_what_grpc_reads_as_an_address_and_looks_up_nowhere(
    source: str, expected: str
) -> None:
    """Sources: gRPC's naming document (a target is a URI), RFC 4007 11 (zones)."""
    path = PathStatus(
        interface="eth1.7",
        source=ip_address(source),
        last_heard=MonoNs(0),
        loss_permille=None,
        round_trip=None,
    )

    assert target(path, 6943) == expected
