"""Whatever agents can say survives the wire; whatever the wire brings does no harm."""

from collections.abc import Callable
from ipaddress import IPv4Address
from struct import pack
from typing import TypeVar

from hypothesis import example, given, strategies as st

from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import Ballot, BootId, GroupId, NodeId, Priority, Term, group_id
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
    Goodbye,
    Header,
    Heard,
    Heartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResult,
    Resign,
    ResignPhase,
    RoleReason,
    State,
)
from haagent.core.settings import IPAddress
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import decode, encode
from haagent.wire.prefix import MAX_SIZE

KEYRING = Keyring(bytes(32), "example", ["web", "mail"])
SOURCE = IPv4Address("192.0.2.1")

_Number = TypeVar("_Number", bound=int)


def numbers(
    bits: int, make: Callable[[int], _Number], least: int = 0
) -> st.SearchStrategy[_Number]:
    return st.integers(least, (1 << bits) - 1).map(make)


u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
counts = st.integers(0, (1 << 63) - 1)
nodes = numbers(64, NodeId, least=1)
boots = numbers(64, BootId)
terms = numbers(63, Term)
priorities = numbers(8, Priority)
reasons = st.sampled_from(RoleReason)
ballots = st.builds(Ballot, nodes, boots, u32)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda name: len(name.encode()) <= 64
)

headers = st.builds(
    Header,
    sender=nodes,
    boot=boots,
    sequence=u64,
    group=st.sampled_from([group_id("web"), group_id("mail")]),
    path=u8,
    flags=st.sampled_from(
        [
            Flag.NONE,
            Flag.ELECTABLE,
            Flag.RESTARTING | Flag.ELECTABLE,
            Flag.UNICAST | Flag.PAUSED,
        ]
    ),
    term=terms,
    master=st.none() | nodes,
    state=st.sampled_from(State),
    base_priority=priorities,
    priority=priorities,
    health=st.integers(0, 255),
    interval_ms=st.integers(1, 0xFFFF),
    timeout_ms=u16,
    stamp=st.builds(Stamp, st.builds(Hlc, st.integers(0, (1 << 48) - 1), u16), counts),
)
heard_lists = st.lists(
    st.builds(Heard, node=nodes, sequence_low=u32, age_us=u32, by_unicast_only=st.booleans()),
    max_size=8,
).map(tuple)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(
        Heartbeat,
        name=names,
        reason=reasons,
        role_age_ms=u32,
        heard=heard_lists,
        config_hash=u64,
    ),
    st.builds(Probe, destination=nodes, nonce=u64),
    st.builds(ProbeAck, destination=nodes, nonce=u64),
    st.builds(ProbeRequest, destination=nodes, target=nodes),
    st.builds(ProbeResult, destination=nodes, heard=heard_lists),
    st.builds(Election, kind=st.sampled_from(ElectionKind), ballot=ballots, proposed_term=terms),
    st.builds(
        Answer,
        destination=nodes,
        ballot=ballots,
        objection=st.none()
        | st.builds(Objection, code=st.sampled_from(ObjectionCode), remaining_ms=u32, term=terms),
    ),
    st.builds(Coordinator, ballot=ballots),
    st.builds(Resign, phase=st.sampled_from(ResignPhase), ballot=ballots, successor=nodes),
    st.builds(Goodbye, reason=reasons),
)
fields_of_this_version = st.sampled_from([1, 4, 6, 7, 8, 10, 16, 17, 18, 19, 20, 21])
values = st.sampled_from([4, 8, 12, 16, 20]).flatmap(
    lambda size: st.binary(min_size=size, max_size=size)
)
field_lists = st.lists(
    st.tuples(fields_of_this_version | u16, values | st.binary(max_size=40)),
    max_size=5,
    unique_by=lambda field: field[0] & 0x7FFF,
)
datagrams = st.builds(Datagram, headers, bodies)
addresses: st.SearchStrategy[IPAddress] = st.ip_addresses()


def signed(covered: bytes) -> bytes:
    """Return ``covered`` with the length and the code that make a receiver read it."""
    covered = covered[:4] + pack("!H", len(covered) + 16) + covered[6:]
    group = GroupId(int.from_bytes(covered[12:14], "big"))
    return covered + KEYRING.mac(covered, group=group, source=SOURCE, path=covered[15])


def read(payload: bytes) -> Datagram | Discard:
    return decode(payload, KEYRING, SOURCE, ttl=255)


@given(datagrams, addresses)
def test_what_is_encoded_is_decoded_unchanged(datagram: Datagram, source: IPAddress) -> None:
    payload = encode(datagram, KEYRING, source)

    assert len(payload) <= MAX_SIZE
    assert decode(payload, KEYRING, source, ttl=255) == datagram


@given(datagrams, st.data())
def test_one_flipped_bit_is_a_discard(datagram: Datagram, data: st.DataObject) -> None:
    payload = bytearray(encode(datagram, KEYRING, SOURCE))
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8

    assert isinstance(read(bytes(payload)), Discard)


@given(st.binary(max_size=MAX_SIZE + 1), st.integers(0, 255))
@example(b"", 255)
def test_no_bytes_can_make_decode_raise(payload: bytes, ttl: int) -> None:
    assert isinstance(decode(payload, KEYRING, SOURCE, ttl), Discard)


@given(datagrams, st.data())
def test_whatever_a_holder_of_the_key_sends_is_read_or_discarded(
    datagram: Datagram, data: st.DataObject
) -> None:
    covered = bytearray(encode(datagram, KEYRING, SOURCE)[:-16])
    places = st.integers(16, len(covered) - 1) | st.sampled_from([2, 3, 6, 14, 15])
    for place, value in data.draw(st.lists(st.tuples(places, u8), min_size=1, max_size=6)):
        covered[place] = value
    cut = data.draw(st.integers(80, len(covered)) | st.just(len(covered)))

    assert_harmless(read(signed(bytes(covered[:cut]))))


@given(headers, st.integers(0, 11), st.integers(0, 7), field_lists)
def test_whatever_fields_a_holder_of_the_key_sends_are_read_or_discarded(
    header: Header, message: int, kinds: int, fields: list[tuple[int, bytes]]
) -> None:
    goodbye = Datagram(header, Goodbye(reason=RoleReason.STOPPING))
    start = bytearray(encode(goodbye, KEYRING, SOURCE)[:80])
    start[3], start[6] = message, kinds
    sent = b"".join(
        pack("!HH", number, len(value)) + value + bytes(-len(value) % 4) for number, value in fields
    )

    assert_harmless(read(signed(bytes(start) + sent)))


def assert_harmless(result: Datagram | Discard) -> None:
    """What is read can be said again and then means the same: no number escapes its range."""
    match result:
        case Datagram():
            assert read(encode(result, KEYRING, SOURCE)) == result
        case Discard(reason, detail):
            assert reason is DiscardReason.MALFORMED
            assert detail
