"""What a person may believe of a datagram: proven, forged, or nobody can tell."""

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given, strategies as st

from haagent.core.messages import Datagram, Discard, DiscardReason
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import encode
from haagent.wire.inspection import Inspected, Inspector, Proof
from haagent.wire.node import AgentEnd, NodeEnd
from tests.unit.wire.test_heartbeat import HEADER, HEARTBEAT, KEYRING, SOURCE
from tests.unit.wire.test_node import ACK, CLUSTER_KEY, HEARTBEAT as NODE_HEARTBEAT, KEY

SAID = Datagram(HEADER, HEARTBEAT)
PAYLOAD = encode(SAID, KEYRING, SOURCE)
WITH_KEY = Inspector(CLUSTER_KEY, "example", ["web"])
WITHOUT_KEY = Inspector(None, "", [])


def test_what_the_key_proves_is_ok() -> None:
    assert WITH_KEY.inspect(PAYLOAD, SOURCE, 255) == Inspected(SAID, Proof.OK, None)


def test_a_changed_bit_is_a_bad_mac_and_is_shown_all_the_same() -> None:
    changed = PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 1])

    assert WITH_KEY.inspect(changed, SOURCE, 255) == Inspected(SAID, Proof.BAD_MAC, None)


def test_another_source_is_a_bad_mac() -> None:
    """A translator of addresses is a forger."""
    elsewhere = IPv4Address("192.0.2.2")

    assert WITH_KEY.inspect(PAYLOAD, elsewhere, 255).proof is Proof.BAD_MAC


def test_without_a_key_everything_is_unverified() -> None:
    assert WITHOUT_KEY.inspect(PAYLOAD, SOURCE, 255) == Inspected(SAID, Proof.UNVERIFIED, None)


def test_a_group_without_a_key_is_unverified_and_unknown() -> None:
    inspected = Inspector(CLUSTER_KEY, "example", ["mail"]).inspect(PAYLOAD, SOURCE, 255)

    assert (inspected.said, inspected.proof) == (SAID, Proof.UNVERIFIED)
    assert inspected.trouble is not None
    assert inspected.trouble.reason is DiscardReason.UNKNOWN_GROUP


def test_another_cluster_is_unverified_and_named() -> None:
    inspected = Inspector(CLUSTER_KEY, "other", ["web"]).inspect(PAYLOAD, SOURCE, 255)

    assert inspected.proof is Proof.UNVERIFIED
    assert inspected.trouble == Discard(DiscardReason.OTHER_CLUSTER, "50d858e0")


def test_another_ttl_is_told_beside_the_proof() -> None:
    trouble = Discard(DiscardReason.BAD_TTL, "64 instead of 255")

    assert WITH_KEY.inspect(PAYLOAD, SOURCE, 64) == Inspected(SAID, Proof.OK, trouble)


def test_a_heartbeat_of_an_app_node_is_proven_by_its_own_key() -> None:
    payload = NodeEnd(KEY, "example", "app1").encode(NODE_HEARTBEAT)

    # It may have crossed a router, and then neither TTL nor source means anything.
    assert WITH_KEY.inspect(payload, SOURCE, 60) == Inspected(NODE_HEARTBEAT, Proof.OK, None)
    assert WITHOUT_KEY.inspect(payload, SOURCE, 60).proof is Proof.UNVERIFIED
    forged = payload[:-1] + bytes([payload[-1] ^ 1])
    assert WITH_KEY.inspect(forged, SOURCE, 60).proof is Proof.BAD_MAC


def test_an_answer_to_an_app_node_is_proven_by_the_key_of_that_node() -> None:
    payload = AgentEnd(CLUSTER_KEY, "example").encode(ACK)

    assert WITH_KEY.inspect(payload, SOURCE, 64) == Inspected(ACK, Proof.OK, None)


def test_a_body_that_cannot_be_read_is_malformed_whoever_wrote_it() -> None:
    covered = PAYLOAD[:3] + b"\x63" + PAYLOAD[4:-16]
    ring = Keyring(CLUSTER_KEY, "example", ["web"])
    payload = covered + ring.mac(covered, group=HEADER.group, source=SOURCE, path=HEADER.path)

    inspected = WITH_KEY.inspect(payload, SOURCE, 255)

    trouble = Discard(DiscardReason.MALFORMED, "unknown type 99")
    assert inspected == Inspected(None, Proof.OK, trouble)


@given(st.binary(max_size=1300), st.integers(0, 255), st.booleans(), st.sampled_from([1, 16, 17]))
def test_no_bytes_raise(data: bytes, ttl: int, begun: bool, kind: int) -> None:
    size = len(data) + 16
    head = b"HA\x10" + bytes([kind]) + size.to_bytes(2, "big") + b"\0\1"
    payload = head + PAYLOAD[8:16] + data if begun else data
    for inspector in (WITH_KEY, WITHOUT_KEY):
        inspected = inspector.inspect(payload, SOURCE, ttl)

        assert inspected.said is not None or inspected.trouble is not None


def test_what_is_shown_of_a_forgery_is_what_it_claims() -> None:
    lie = replace(SAID, header=replace(HEADER, priority=HEADER.base_priority))
    forged = encode(lie, Keyring(b"another key", "example", ["web"]), SOURCE)

    assert WITH_KEY.inspect(forged, SOURCE, 255) == Inspected(lie, Proof.BAD_MAC, None)
