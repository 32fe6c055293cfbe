"""The wire format 1.0: one heartbeat pinned to the byte, and the refusal of every rule."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from struct import pack

import pytest

from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import (
    HEALTHY,
    Ballot,
    Priority,
    Term,
    boot_id,
    group_id,
    node_id,
)
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Datagram,
    Discard,
    DiscardReason,
    Election,
    ElectionKind,
    Flag,
    Header,
    Heard,
    Heartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeRequest,
    Resign,
    ResignPhase,
    RoleReason,
    State,
)
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import decode, encode
from haagent.wire.prefix import MAX_SIZE

KEYRING = Keyring(bytes(range(32)), "example", ["web"])
SOURCE = IPv4Address("192.0.2.1")
LB1, LB2 = node_id("lb1"), node_id("lb2")
BALLOT = Ballot(LB1, boot_id(5, 0xC0FFEE11), 3)

HEADER = Header(
    sender=LB1,
    boot=boot_id(counter=5, chance=0xC0FFEE11),
    sequence=4242,
    group=group_id("web"),
    path=1,
    flags=Flag.ELECTABLE,
    term=Term(7),
    master=LB1,
    state=State.MASTER,
    base_priority=Priority(150),
    priority=Priority(140),
    health=HEALTHY,
    interval_ms=200,
    timeout_ms=600,
    stamp=Stamp(Hlc(1_700_000_000_123, 2), 99_000),
)
HEARTBEAT = Heartbeat(
    name="lb1",
    reason=RoleReason.HANDOVER,
    role_age_ms=61_000,
    heard=(Heard(node=LB2, sequence_low=17, age_us=150_250),),
    config_hash=0x0123_4567_89AB_CDEF,
)
GOLDEN = """\
48 41 10 01 00 a0 10 01  # magic, version 1.0, HEARTBEAT, 160 bytes, ELECTABLE, key 1
50 d8 58 e0 4b 5e 14 01  # cluster "example", group "web", header of 20 words, path 1
94 8e 92 24 60 de d0 69  # sender "lb1"
00 00 00 05 c0 ff ee 11  # boot 5, chance c0ffee11
00 00 00 00 00 00 10 92  # sequence 4242
00 00 00 00 00 00 00 07  # term 7
94 8e 92 24 60 de d0 69  # master "lb1"
06 96 8c 64 00 c8 02 58  # MASTER, priority 150, effective 140, health 100, 200 ms, 600 ms
01 8b cf e5 68 7b 00 02  # HLC 1700000000123 ms, counter 2
00 00 00 00 00 01 82 b8  # Lamport 99000
00 10 00 03 6c 62 31 00  # NAME "lb1", one byte of padding
00 14 00 08 00 05 00 00 00 00 ee 48  # ROLE: HANDOVER, 61000 ms ago
00 04 00 10 01 23 45 67 89 ab cd ef  # CFG: hash,
00 00 00 00 00 00 00 00  # version of the backend table
00 01 00 14 83 9f 0d 76 3b e7 45 ec  # HEARD: "lb2",
00 00 00 11 00 02 4a ea 00 00 00 00  # sequence 17, 150250 us ago
52 db 95 3b 88 de 76 53 69 d8 32 52 6c 25 39 9c  # code
"""
"""Sent from 192.0.2.1 with the cluster key 00 01 02 .. 1f."""


def golden() -> bytes:
    return bytes.fromhex("".join(line.split("#")[0] for line in GOLDEN.splitlines()))


def sent(body: Body, header: Header = HEADER) -> bytes:
    return encode(Datagram(header, body), KEYRING, SOURCE)


def heard(payload: bytes) -> Datagram | Discard:
    return decode(payload, KEYRING, SOURCE, ttl=255)


def signed(covered: bytes) -> bytes:
    """Return ``covered`` as somebody sends it who has the key but not the rules."""
    covered = covered[:4] + pack("!H", len(covered) + 16) + covered[6:]
    return covered + KEYRING.mac(covered, group=group_id("web"), source=SOURCE, path=covered[15])


def patched(payload: bytes, offset: int, new: bytes) -> bytes:
    return signed(payload[:offset] + new + payload[offset + len(new) : -16])


def with_fields(payload: bytes, fields: bytes) -> bytes:
    """Return ``payload`` with ``fields`` in the place of its own."""
    return signed(payload[:80] + fields)


def field(number: int, value: bytes) -> bytes:
    return pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)


def malformed(detail: str) -> Discard:
    return Discard(DiscardReason.MALFORMED, detail)


def test_a_heartbeat_looks_like_this_for_ever() -> None:
    """Agents of two releases share a network: a change here is a new version of the format."""
    assert sent(HEARTBEAT).hex() == golden().hex()
    assert heard(golden()) == Datagram(HEADER, HEARTBEAT)


def test_the_example_in_the_documentation_is_this_heartbeat() -> None:
    assert GOLDEN in (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()


def test_the_body_alone_says_which_kind_of_election_it_is() -> None:
    election = Election(kind=ElectionKind.VOTE, ballot=BALLOT, proposed_term=Term(8))
    payload = sent(election)

    assert payload[6] == 2 | 16
    assert heard(payload) == Datagram(HEADER, election)


def test_the_choice_of_an_operator_travels_in_the_header() -> None:
    header = replace(HEADER, flags=Flag.ELECTABLE | Flag.CHOSEN)
    payload = sent(HEARTBEAT, header)

    assert payload[6] == 128 | 16
    assert heard(payload) == Datagram(header, HEARTBEAT)


def test_a_header_that_says_the_kind_of_an_election_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="the kind of an election"):
        sent(HEARTBEAT, replace(HEADER, flags=Flag.VOTE))


def test_ages_beyond_their_range_are_sent_as_the_greatest() -> None:
    entry = replace(HEARTBEAT.heard[0], age_us=1 << 40)
    veto = Objection(code=ObjectionCode.LEASE, remaining_ms=1 << 40, term=Term(7))
    answer = Answer(destination=LB2, ballot=BALLOT, objection=veto)
    greatest = (1 << 32) - 1

    assert heard(sent(replace(HEARTBEAT, heard=(entry,), role_age_ms=1 << 40))) == Datagram(
        HEADER,
        replace(HEARTBEAT, heard=(replace(entry, age_us=greatest),), role_age_ms=greatest),
    )
    assert heard(sent(answer)) == Datagram(
        HEADER, replace(answer, objection=replace(veto, remaining_ms=greatest))
    )


def test_a_heartbeat_that_would_be_fragmented_is_a_bug() -> None:
    entry = HEARTBEAT.heard[0]
    most = (MAX_SIZE - len(sent(replace(HEARTBEAT, heard=())))) // 20

    assert len(sent(replace(HEARTBEAT, heard=(entry,) * most))) <= MAX_SIZE
    with pytest.raises(AssertionError, match="fragmented"):
        sent(replace(HEARTBEAT, heard=(entry,) * (most + 1)))


@pytest.mark.parametrize("name", ["", "x" * 65, "lb\x1b[2J", "lb\x85"])
def test_a_name_that_peers_would_refuse_is_a_bug(name: str) -> None:
    with pytest.raises(AssertionError, match="not a name"):
        sent(replace(HEARTBEAT, name=name))


@pytest.mark.parametrize("ttl", [0, 1, 254])
def test_a_datagram_from_beyond_the_link_is_discarded(ttl: int) -> None:
    expected = Discard(DiscardReason.BAD_TTL, f"{ttl} instead of 255")

    assert decode(golden(), KEYRING, SOURCE, ttl) == expected


def test_what_is_not_of_the_format_is_told_without_a_key() -> None:
    payload = golden()

    assert heard(b"") == malformed("0 bytes")
    assert heard(payload[:95]) == malformed("95 bytes")
    assert heard(bytes(MAX_SIZE + 1)) == malformed("1233 bytes")
    assert heard(b"HB" + payload[2:]) == malformed("not a datagram of haagent")
    assert heard(b"HA\x20" + payload[3:]) == malformed("version 2.0")
    assert heard(payload + b"\0") == malformed("161 bytes, says 160")
    assert heard(payload[:-1]) == malformed("159 bytes, says 160")


def test_other_clusters_keys_and_groups_are_told_without_a_key() -> None:
    payload = golden()
    other = Keyring(bytes(32), "other", ["web"])

    assert decode(payload, other, SOURCE, 255) == Discard(DiscardReason.OTHER_CLUSTER, "50d858e0")
    assert heard(payload[:7] + b"\x02" + payload[8:]) == Discard(DiscardReason.UNKNOWN_KEY, "key 2")
    assert heard(payload[:12] + b"\0\x01" + payload[14:]) == Discard(
        DiscardReason.UNKNOWN_GROUP, "group 1"
    )


def test_another_key_or_another_source_address_fails_the_code() -> None:
    stranger = Keyring(bytes(32), "example", ["web"])
    elsewhere = IPv4Address("192.0.2.2")

    assert decode(golden(), stranger, SOURCE, 255) == Discard(DiscardReason.BAD_MAC)
    assert decode(golden(), KEYRING, elsewhere, 255) == Discard(DiscardReason.BAD_MAC)


def test_what_is_wrong_behind_the_code_is_not_read_before_it() -> None:
    """Byte 3 is the type, and there is no type 99."""
    payload = golden()

    assert heard(payload[:3] + b"\x63" + payload[4:]) == Discard(DiscardReason.BAD_MAC)
    assert heard(patched(payload, 3, b"\x63")) == malformed("unknown type 99")


@pytest.mark.parametrize(
    ("offset", "new", "detail"),
    [
        (6, b"\x12", "election flags on HEARTBEAT"),
        (14, b"\x13", "header of 19 words"),
        (14, b"\x25", "header of 37 words"),
        (16, bytes(8), "node id 0"),
        (40, b"\x80" + bytes(7), "term 9223372036854775808"),
        (56, b"\x63", "unknown state 99"),
        (60, bytes(2), "interval 0"),
        (72, b"\xff" * 8, "Lamport counter 18446744073709551615"),
        (80, b"\x80\x63", "unknown critical field 99"),
        (80, b"\x00\x63", "NAME is missing"),
        (80, b"\x00\x14", "field 20 twice"),
        (87, b"\x01", "padding of field 16 is not zero"),
        (92, b"\x00\x63", "unknown reason 99"),
        (122, b"\x00\x18", "field 1 reaches past the end"),
        (124, bytes(8), "node id 0"),
    ],
)
def test_a_heartbeat_of_a_peer_that_breaks_a_rule_is_discarded(
    offset: int, new: bytes, detail: str
) -> None:
    assert heard(patched(golden(), offset, new)) == malformed(detail)


@pytest.mark.parametrize("name", [b"", b"x" * 65, b"\xff", b"\xed\xa0\x80", b"\x07", b"\xc2\x85"])
def test_a_name_that_cannot_be_shown_is_discarded(name: bytes) -> None:
    fields = field(16, name) + golden()[88:-16]

    assert heard(with_fields(golden(), fields)) == malformed(
        "NAME is not 1 to 64 bytes of UTF-8 without control characters"
    )


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (Probe(destination=LB2, nonce=1), 84),
        (Coordinator(ballot=BALLOT), 84),
        (ProbeRequest(destination=LB1, target=LB2), 96),
        (Resign(phase=ResignPhase.COMMIT, ballot=BALLOT, successor=LB2), 112),
    ],
    ids=["destination", "candidate", "target", "successor"],
)
def test_nobody_is_not_a_node(body: Body, offset: int) -> None:
    assert heard(patched(sent(body), offset, bytes(8))) == malformed("node id 0")


def test_the_highest_count_is_read_and_one_more_is_garbage() -> None:
    greatest = Term((1 << 63) - 1)
    election = Election(kind=ElectionKind.VOTE, ballot=BALLOT, proposed_term=greatest)
    veto = Objection(code=ObjectionCode.TERM, remaining_ms=0, term=greatest)
    answer = Answer(destination=LB2, ballot=BALLOT, objection=veto)

    assert heard(sent(election)) == Datagram(HEADER, election)
    assert heard(sent(answer)) == Datagram(HEADER, answer)
    too_much = replace(election, proposed_term=Term(greatest + 1))
    assert heard(sent(too_much)) == malformed(f"proposed term {greatest + 1}")
    too_high = replace(answer, objection=replace(veto, term=Term(greatest + 1)))
    assert heard(sent(too_high)) == malformed(f"term {greatest + 1}")


def test_a_last_field_without_its_padding_is_discarded() -> None:
    fields = golden()[80:-16] + field(0x63, b"odd")[:-1]

    assert heard(with_fields(golden(), fields)) == malformed("field 99 reaches past the end")


def test_a_list_that_ends_inside_an_entry_is_discarded() -> None:
    fields = golden()[80:120] + field(1, bytes(16))

    assert heard(with_fields(golden(), fields)) == malformed("HEARD of 16 bytes")


@pytest.mark.parametrize(
    ("number", "message", "missing"),
    [
        (1, "HEARTBEAT", "ROLE"),
        (2, "PROBE", "DST"),
        (3, "PROBE_ACK", "DST"),
        (6, "ELECTION", "PROPOSED"),
        (7, "ANSWER", "DST"),
        (8, "COORDINATOR", "BALLOT"),
        (9, "RESIGN", "RESIGN"),
        (10, "GOODBYE", "GOODBYE"),
    ],
)
def test_every_message_misses_its_fields(number: int, message: str, missing: str) -> None:
    flags = b"\x02" if message == "ELECTION" else b"\0"
    empty = with_fields(patched(patched(golden(), 3, bytes([number])), 6, flags), b"")

    assert heard(empty) == malformed(f"{missing} is missing")


@pytest.mark.parametrize("kinds", [0, 3, 5, 6, 7])
def test_an_election_is_of_exactly_one_kind(kinds: int) -> None:
    election = sent(Election(kind=ElectionKind.PRE, ballot=BALLOT, proposed_term=Term(8)))

    assert heard(patched(election, 6, bytes([kinds]))) == malformed(
        f"unknown election flags {kinds}"
    )


def test_a_field_must_have_exactly_its_length() -> None:
    goodbye = patched(golden(), 3, b"\x0a")

    assert heard(with_fields(goodbye, field(19, bytes(8)))) == malformed(
        "GOODBYE of 8 bytes instead of 4"
    )
    assert heard(with_fields(goodbye, b"\0\x13")) == malformed("field prefix cut short")


def test_a_later_minor_version_is_read_as_far_as_it_is_known() -> None:
    """Longer header, reserved bytes in use, a field of its own: all skipped."""
    payload = golden()
    newer = (
        payload[:2]
        + b"\x17"
        + payload[3:14]
        + b"\x15"
        + payload[15:80]
        + b"new."
        + payload[80:-20]
        + b"\x00\x02\x00\x03"
        + field(0x63, b"odd")
    )

    assert heard(signed(newer)) == Datagram(HEADER, HEARTBEAT)
