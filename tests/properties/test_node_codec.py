"""Whatever app nodes and agents can say survives the wire; whatever it brings does no harm."""

from dataclasses import replace
from struct import pack

from hypothesis import example, given, strategies as st

from haagent.core.identity import BootId, NodeId, node_id
from haagent.core.messages import (
    Discard,
    DiscardReason,
    Load,
    NodeAck,
    NodeHeartbeat,
    Service,
)
from haagent.core.settings import IPAddress
from haagent.wire.auth import derive_node_key, node_mac
from haagent.wire.node import AgentEnd, NodeEnd
from haagent.wire.prefix import MAX_SIZE

CLUSTER_KEY = bytes(32)
KEY = derive_node_key(CLUSTER_KEY, "example", node_id("app1"))
AGENT = AgentEnd(CLUSTER_KEY, "example")
NODE = NodeEnd(KEY, "example", "app1")

u8, u16, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 64))
permille = st.integers(0, 1000)
nodes = st.integers(1, (1 << 64) - 1).map(NodeId)
boots = u64.map(BootId)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
addresses: st.SearchStrategy[IPAddress] = st.ip_addresses().filter(
    lambda a: not (a.is_multicast or a.is_unspecified or a.is_loopback)
)
services = st.lists(
    st.builds(
        Service,
        name=names,
        port=st.integers(1, 65535),
        weight=st.integers(0, 256),
        healthy=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda service: service.name,
).map(tuple)
heartbeats = st.builds(
    NodeHeartbeat,
    sender=st.just(node_id("app1")),
    boot=boots,
    sequence=u64,
    path=u8,
    interval_ms=st.integers(1, 0xFFFF),
    nonce=u64,
    leaving=st.booleans(),
    load=st.builds(Load, cpu_permille=permille, memory_permille=permille, queue_percent=u16),
    name=st.just("app1"),
    node_class=names,
    address=addresses,
    services=services,
)
acks = st.integers(1, 0xFFFF).flatmap(
    lambda interval_ms: st.builds(
        NodeAck,
        destination=st.just(node_id("app1")),
        agent=nodes,
        boot=boots,
        sequence=u64,
        nonce=st.integers(1, (1 << 64) - 1),
        interval_ms=st.just(interval_ms),
        jitter_ms=st.integers(0, interval_ms - 1),
    )
)
values = st.sampled_from([4, 8, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
field_lists = st.lists(
    st.tuples(st.sampled_from([15, 16, 22, 23]) | u16, values | names.map(str.encode)),
    max_size=5,
    unique_by=lambda field: field[0] & 0x7FFF,
)


def signed(covered: bytes) -> bytes:
    """Return ``covered`` with the length and the code that make a receiver read it."""
    covered = covered[:4] + pack("!H", len(covered) + 16) + covered[6:]
    return covered + node_mac(covered, KEY)


@given(heartbeats)
def test_a_heartbeat_that_is_encoded_is_decoded_unchanged(heartbeat: NodeHeartbeat) -> None:
    payload = NODE.encode(heartbeat)

    assert len(payload) <= MAX_SIZE
    assert AGENT.decode(payload) == heartbeat


@given(acks)
def test_an_answer_that_is_encoded_is_decoded_unchanged(ack: NodeAck) -> None:
    assert NODE.decode(AGENT.encode(ack)) == ack


@given(heartbeats, acks, st.data())
def test_one_flipped_bit_is_a_discard(
    heartbeat: NodeHeartbeat, ack: NodeAck, data: st.DataObject
) -> None:
    for payload, decode in (
        (NODE.encode(heartbeat), AGENT.decode),
        (AGENT.encode(ack), NODE.decode),
    ):
        flipped = bytearray(payload)
        bit = data.draw(st.integers(0, 8 * len(flipped) - 1))
        flipped[bit // 8] ^= 1 << bit % 8

        assert isinstance(decode(bytes(flipped)), Discard)


@given(st.binary(max_size=MAX_SIZE + 1))
@example(b"")
def test_no_bytes_can_make_either_end_raise(payload: bytes) -> None:
    assert isinstance(AGENT.decode(payload), Discard)
    assert isinstance(NODE.decode(payload), Discard)


@given(heartbeats, st.data())
def test_whatever_a_node_sends_is_read_or_discarded(
    heartbeat: NodeHeartbeat, data: st.DataObject
) -> None:
    covered = bytearray(NODE.encode(heartbeat)[:-16])
    # All but the sender: with another id the code would be wrong.
    places = st.integers(24, len(covered) - 1) | st.sampled_from([2, 6, 12, 14, 15])
    for place, value in data.draw(st.lists(st.tuples(places, u8), min_size=1, max_size=6)):
        covered[place] = value
    cut = data.draw(st.integers(56, len(covered)) | st.just(len(covered)))

    assert_harmless(AGENT.decode(signed(bytes(covered[:cut]))))


@given(heartbeats, field_lists)
def test_whatever_fields_a_node_sends_are_read_or_discarded(
    heartbeat: NodeHeartbeat, fields: list[tuple[int, bytes]]
) -> None:
    start = NODE.encode(replace(heartbeat, services=()))[:56]
    sent = b"".join(
        pack("!HH", number, len(value)) + value + bytes(-len(value) % 4) for number, value in fields
    )

    assert_harmless(AGENT.decode(signed(start + sent)))


@given(acks, st.lists(st.tuples(st.integers(4, 63), u8), min_size=1, max_size=6))
def test_whatever_answer_has_the_right_code_is_read_or_discarded(
    ack: NodeAck, changes: list[tuple[int, int]]
) -> None:
    covered = bytearray(AGENT.encode(ack)[:-16])
    for place, value in changes:
        covered[place] = value
    match NODE.decode(signed(bytes(covered))):
        case NodeAck() as read:
            assert NODE.decode(AGENT.encode(read)) == read
        case Discard(reason):
            assert reason in {
                DiscardReason.MALFORMED,
                DiscardReason.OTHER_CLUSTER,
                DiscardReason.UNKNOWN_KEY,
                DiscardReason.OTHER_DESTINATION,
            }


def assert_harmless(result: NodeHeartbeat | Discard) -> None:
    """What is read can be said again and then means the same: no number escapes its range."""
    match result:
        case NodeHeartbeat():
            assert AGENT.decode(NODE.encode(result)) == result
        case Discard(reason, detail):
            assert reason in {DiscardReason.MALFORMED, DiscardReason.UNKNOWN_KEY}
            assert detail
