"""What app nodes and agents say to each other: pinned to the byte, and each rule's refusal."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from struct import pack

import pytest

from haagent.core.identity import NodeId, boot_id, node_id
from haagent.core.messages import (
    Discard,
    DiscardReason,
    Load,
    NodeAck,
    NodeHeartbeat,
    Service,
)
from haagent.wire.auth import derive_node_key, node_mac
from haagent.wire.node import AgentEnd, NodeEnd
from haagent.wire.prefix import MAX_SIZE

CLUSTER_KEY = bytes(range(32))
APP1, APP2, LB1 = node_id("app1"), node_id("app2"), node_id("lb1")
KEY = derive_node_key(CLUSTER_KEY, "example", APP1)
WEB = Service(name="web", port=8080, weight=100, healthy=True)

HEARTBEAT = NodeHeartbeat(
    sender=APP1,
    boot=boot_id(1_700_000_000, 0xC0FFEE11),
    sequence=4242,
    path=1,
    interval_ms=1000,
    nonce=0x0123_4567_89AB_CDEF,
    leaving=False,
    load=Load(cpu_permille=420, memory_permille=618, queue_percent=150),
    name="app1",
    node_class="default",
    address=IPv4Address("192.0.2.21"),
    services=(WEB,),
)
ACK = NodeAck(
    destination=APP1,
    agent=LB1,
    boot=HEARTBEAT.boot,
    sequence=4242,
    nonce=0x0123_4567_89AB_CDEF,
    interval_ms=1000,
    jitter_ms=100,
)
GOLDEN_HEARTBEAT = """\
48 41 10 10 00 74 00 01  # magic, version 1.0, NODE_HB, 116 bytes, no flag, key 1
50 d8 58 e0 00 00 0e 01  # cluster "example", no group, header of 14 words, path 1
17 2d d4 a0 36 60 00 60  # sender "app1"
65 53 f1 00 c0 ff ee 11  # boot: started 1700000000 s after the epoch, chance c0ffee11
00 00 00 00 00 00 10 92  # sequence 4242
01 23 45 67 89 ab cd ef  # nonce, as the newest answer had it
03 e8 01 a4 02 6a 00 96  # 1000 ms, processors 42.0 %, memory 61.8 %, queue 1.50
00 10 00 04 61 70 70 31  # NAME "app1"
00 16 00 07 64 65 66 61 75 6c 74 00  # CLASS "default", one byte of padding
00 17 00 04 c0 00 02 15  # ADDRESS 192.0.2.21
00 0f 00 09 1f 90 00 64 01 03 77 65 62 00 00 00  # SVC: port 8080, weight 100, healthy, "web"
e0 7b 00 51 96 7b d9 37 f5 66 a8 eb cd d4 82 68  # code
"""
GOLDEN_ACK = """\
48 41 10 11 00 50 00 01  # magic, version 1.0, NODE_ACK, 80 bytes, no flag, key 1
50 d8 58 e0 00 00 10 00  # cluster "example", no group, header of 16 words, path 0
94 8e 92 24 60 de d0 69  # agent "lb1"
65 53 f1 00 c0 ff ee 11  # boot of the heartbeat that is answered
00 00 00 00 00 00 10 92  # its sequence
01 23 45 67 89 ab cd ef  # nonce to be returned
03 e8 00 64 00 00 00 00  # an interval of 1000 ms, up to 100 ms early or late
17 2d d4 a0 36 60 00 60  # destination "app1"
d5 45 08 c3 3d 44 d6 2b 67 67 3b 89 fa 40 6e 89  # code
"""
"""With the cluster key 00 01 02 .. 1f, from which the key of "app1" is derived."""


def golden(text: str) -> bytes:
    return bytes.fromhex("".join(line.split("#")[0] for line in text.splitlines()))


def node_end(name: str = "app1") -> NodeEnd:
    return NodeEnd(derive_node_key(CLUSTER_KEY, "example", node_id(name)), "example", name)


def agent_end() -> AgentEnd:
    return AgentEnd(CLUSTER_KEY, "example")


def sent(heartbeat: NodeHeartbeat = HEARTBEAT) -> bytes:
    return node_end().encode(heartbeat)


def heard(payload: bytes) -> NodeHeartbeat | Discard:
    return agent_end().decode(payload)


def signed(covered: bytes, key: bytes = KEY) -> bytes:
    """Return ``covered`` as somebody sends it who has the key but not the rules."""
    covered = covered[:4] + pack("!H", len(covered) + 16) + covered[6:]
    return covered + node_mac(covered, key)


def patched(payload: bytes, offset: int, new: bytes) -> bytes:
    return signed(payload[:offset] + new + payload[offset + len(new) : -16])


def with_fields(*fields: bytes) -> bytes:
    """Return a heartbeat that has these fields instead of its own."""
    return signed(sent()[:56] + b"".join(fields))


def field(number: int, value: bytes) -> bytes:
    return pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)


NAME, CLASS, ADDRESS, SVC = (
    field(16, b"app1"),
    field(22, b"default"),
    field(23, bytes([192, 0, 2, 21])),
    field(15, pack("!HHBB", 8080, 100, 1, 3) + b"web"),
)


def malformed(detail: str) -> Discard:
    return Discard(DiscardReason.MALFORMED, detail)


BAD_MAC = Discard(DiscardReason.BAD_MAC)


def test_a_heartbeat_of_a_node_looks_like_this_for_ever() -> None:
    """Nodes and agents of two releases share a network: a change is a new version."""
    assert sent().hex() == golden(GOLDEN_HEARTBEAT).hex()
    assert heard(golden(GOLDEN_HEARTBEAT)) == HEARTBEAT


def test_an_answer_to_a_node_looks_like_this_for_ever() -> None:
    assert agent_end().encode(ACK).hex() == golden(GOLDEN_ACK).hex()
    assert node_end().decode(golden(GOLDEN_ACK)) == ACK


@pytest.mark.parametrize("example", [GOLDEN_HEARTBEAT, GOLDEN_ACK])
def test_the_examples_in_the_documentation_are_these(example: str) -> None:
    assert example in (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"leaving": True},
        {"nonce": 0},
        {"services": ()},
        {"services": (WEB, replace(WEB, name="api", healthy=False, weight=0, port=65535))},
        {"address": IPv6Address("2001:db8::21")},
        {"node_class": "x" * 63},
        {"load": Load(cpu_permille=0, memory_permille=1000, queue_percent=65535)},
    ],
)
def test_what_a_node_says_arrives(change: dict[str, object]) -> None:
    heartbeat = replace(HEARTBEAT, **change)  # type: ignore[arg-type]

    assert heard(sent(heartbeat)) == heartbeat


def test_load_beyond_its_range_is_sent_as_the_greatest() -> None:
    beyond = Load(cpu_permille=1001, memory_permille=5000, queue_percent=1 << 20)
    greatest = Load(cpu_permille=1000, memory_permille=1000, queue_percent=0xFFFF)

    assert heard(sent(replace(HEARTBEAT, load=beyond))) == replace(HEARTBEAT, load=greatest)


def test_what_has_not_changed_is_the_same_object_again() -> None:
    """10,000 nodes once a second: nothing is parsed or kept twice."""
    agent = agent_end()
    first, second = agent.decode(sent()), agent.decode(sent(replace(HEARTBEAT, sequence=4243)))
    assert isinstance(first, NodeHeartbeat)
    assert isinstance(second, NodeHeartbeat)

    assert second.services is first.services
    assert second.address is first.address


def test_what_has_changed_is_read_anew() -> None:
    agent = agent_end()
    sick = replace(HEARTBEAT, services=(replace(WEB, healthy=False),))

    assert [agent.decode(sent(each)) for each in (HEARTBEAT, sick, HEARTBEAT)] == [
        HEARTBEAT,
        sick,
        HEARTBEAT,
    ]


def test_fields_that_were_refused_are_refused_again() -> None:
    agent = agent_end()
    bad = with_fields(NAME, CLASS, ADDRESS)

    assert agent.decode(bad) == agent.decode(bad) == malformed("SVC is missing")


def test_a_node_can_forge_neither_another_node_nor_an_agent() -> None:
    """With the key of app1, and all the skill of the world."""
    as_app2 = replace(HEARTBEAT, sender=APP2, name="app2")
    forged = signed(node_end("app2").encode(as_app2)[:-16], KEY)
    to_app2 = signed(agent_end().encode(replace(ACK, destination=APP2))[:-16], KEY)

    assert heard(forged) == BAD_MAC
    assert node_end("app2").decode(to_app2) == BAD_MAC


def test_a_node_cannot_go_by_the_name_of_another() -> None:
    renamed = with_fields(field(16, b"app2"), CLASS, ADDRESS, SVC)

    assert heard(renamed) == malformed("id 172dd4a036600060 is not that of 'app2'")
    with pytest.raises(AssertionError, match="for itself alone"):
        node_end("app2").encode(HEARTBEAT)


def test_an_answer_to_one_node_says_nothing_to_another() -> None:
    """Even to one that has been given the key of the first."""
    shared = NodeEnd(KEY, "example", "app2")

    assert node_end("app2").decode(golden(GOLDEN_ACK)) == BAD_MAC
    assert shared.decode(golden(GOLDEN_ACK)) == Discard(DiscardReason.OTHER_DESTINATION)


def test_neither_message_can_be_reflected_as_the_other() -> None:
    heartbeat, ack = golden(GOLDEN_HEARTBEAT), golden(GOLDEN_ACK)

    assert node_end().decode(heartbeat) == malformed("type 16")
    assert heard(ack) == malformed("type 17")
    assert node_end().decode(heartbeat[:3] + b"\x11" + heartbeat[4:]) == BAD_MAC
    assert heard(ack[:3] + b"\x10" + ack[4:]) == BAD_MAC


def test_what_is_not_of_the_format_is_told_without_a_key() -> None:
    payload = golden(GOLDEN_HEARTBEAT)

    assert heard(b"") == malformed("0 bytes")
    assert heard(payload[:71]) == malformed("71 bytes")
    assert heard(bytes(MAX_SIZE + 1)) == malformed("1233 bytes")
    assert heard(b"HB" + payload[2:]) == malformed("not a datagram of haagent")
    assert heard(payload[:2] + b"\x20" + payload[3:]) == malformed("version 2.0")
    assert heard(payload + b"\0") == malformed("117 bytes, says 116")
    assert heard(payload[:7] + b"\2" + payload[8:]) == Discard(DiscardReason.UNKNOWN_KEY, "key 2")
    assert AgentEnd(CLUSTER_KEY, "other").decode(payload) == Discard(
        DiscardReason.OTHER_CLUSTER, "50d858e0"
    )
    assert node_end().decode(golden(GOLDEN_ACK)[:79]) == malformed("79 bytes")


def test_what_is_wrong_behind_the_code_is_not_read_before_it() -> None:
    payload = golden(GOLDEN_HEARTBEAT)

    assert heard(payload[:48] + bytes(2) + payload[50:]) == BAD_MAC
    assert heard(payload[:-1] + b"\0") == BAD_MAC
    assert AgentEnd(bytes(32), "example").decode(payload) == BAD_MAC


@pytest.mark.parametrize(
    ("offset", "new", "detail"),
    [
        (14, b"\x0d", "header of 13 words"),
        (14, b"\x1a", "header of 26 words"),
        (48, bytes(2), "interval 0, load 420 and 618 per mille"),
        (50, b"\x03\xe9", "interval 1000, load 1001 and 618 per mille"),
        (52, b"\x03\xe9", "interval 1000, load 420 and 1001 per mille"),
        (56, b"\x00\x63", "NAME is missing"),
        (56, b"\x80\x63", "unknown critical field 99"),
    ],
)
def test_a_heartbeat_that_breaks_a_rule_is_discarded(offset: int, new: bytes, detail: str) -> None:
    assert heard(patched(sent(), offset, new)) == malformed(detail)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([NAME, ADDRESS, SVC], "CLASS is missing"),
        ([NAME, CLASS, SVC], "ADDRESS is missing"),
        ([field(16, b""), CLASS, ADDRESS, SVC], "NAME is not a name"),
        ([field(16, b"app1;quit"), CLASS, ADDRESS, SVC], "NAME is not a name"),
        ([NAME, field(22, b"\xc3\xa9t\xc3\xa9"), ADDRESS, SVC], "CLASS is not a name"),
        ([NAME, field(22, b"x" * 64), ADDRESS, SVC], "CLASS is not a name"),
        ([NAME, CLASS, field(23, bytes(5)), SVC], "ADDRESS of 5 bytes"),
        ([NAME, CLASS, field(23, bytes(4)), SVC], "ADDRESS 0.0.0.0"),
        ([NAME, CLASS, field(23, bytes([127, 0, 0, 1])), SVC], "ADDRESS 127.0.0.1"),
        ([NAME, CLASS, field(23, b"\xff\x02" + bytes(14)), SVC], "ADDRESS ff02::"),
    ],
)
def test_fields_that_break_a_rule_are_discarded(fields: list[bytes], detail: str) -> None:
    assert heard(with_fields(*fields)) == malformed(detail)


def service(port: int, weight: int, name: bytes, size: int | None = None) -> bytes:
    return pack("!HHBB", port, weight, 1, len(name) if size is None else size) + name


@pytest.mark.parametrize(
    ("services", "detail"),
    [
        (b"\x1f\x90", "service cut short"),
        (service(8080, 100, b"web", size=4), "service cut short"),
        (service(8080, 100, b""), "name of a service is not a name"),
        (service(8080, 100, b"a b"), "name of a service is not a name"),
        (service(0, 100, b"web"), "service web twice, with port 0, or with a weight above 256"),
        (service(1, 257, b"web"), "service web twice, with port 0, or with a weight above 256"),
        (
            service(1, 1, b"web") + service(2, 1, b"web"),
            "service web twice, with port 0, or with a weight above 256",
        ),
    ],
)
def test_services_that_break_a_rule_are_discarded(services: bytes, detail: str) -> None:
    assert heard(with_fields(NAME, CLASS, ADDRESS, field(15, services))) == malformed(detail)


@pytest.mark.parametrize(
    ("offset", "new", "detail"),
    [
        (14, b"\x0f", "header of 15 words"),
        (14, b"\x11", "header of 17 words"),
        (16, bytes(8), "node id 0"),
        (40, bytes(8), "nonce 0, interval 1000, jitter 100"),
        (48, bytes(2), "nonce 81985529216486895, interval 0, jitter 100"),
        (50, b"\x03\xe8", "nonce 81985529216486895, interval 1000, jitter 1000"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_discarded(offset: int, new: bytes, detail: str) -> None:
    assert node_end().decode(patched(golden(GOLDEN_ACK), offset, new)) == malformed(detail)


@pytest.mark.parametrize(
    "change",
    [
        {"node_class": "a b"},
        {"address": ip_address("0.0.0.0")},
        {"services": (replace(WEB, name=""),)},
        {"interval_ms": 0},
    ],
)
def test_what_agents_would_refuse_is_a_bug(change: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        sent(replace(HEARTBEAT, **change))  # type: ignore[arg-type]


def test_a_heartbeat_that_would_be_fragmented_is_a_bug() -> None:
    many = tuple(replace(WEB, name=f"{number:0>63}") for number in range(20))

    with pytest.raises(AssertionError, match="fragmented"):
        sent(replace(HEARTBEAT, services=many))


def test_an_answer_that_would_have_a_heartbeat_come_before_its_time_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="before its time"):
        agent_end().encode(replace(ACK, jitter_ms=1000))


def test_a_later_minor_version_is_read_as_far_as_it_is_known() -> None:
    """A longer header, reserved bits, and a field of its own: all skipped."""
    payload = sent()
    newer = (
        payload[:2] + b"\x17" + payload[3:6] + b"\xfe" + payload[7:14] + b"\x0f" + payload[15:56]
        + b"new." + payload[56:-16] + field(0x63, b"odd")
    )  # fmt: skip
    ack = golden(GOLDEN_ACK)
    newer_ack = (
        ack[:2] + b"\x17" + ack[3:6] + b"\xff" + ack[7:14] + b"\x11" + ack[15:52]
        + b"used" + ack[56:64] + b"new."
    )  # fmt: skip

    assert heard(signed(newer)) == HEARTBEAT
    assert node_end().decode(signed(newer_ack)) == ACK


def test_only_nodes_that_proved_genuine_are_remembered() -> None:
    """Forged ids take no memory; beyond the bound the oldest go, and are derived anew."""
    agent = AgentEnd(CLUSTER_KEY, "example", most_known=2)
    for number in range(100):
        agent.decode(patched(sent(), 16, number.to_bytes(8, "big")))
    assert agent._known == {}

    names = ("app1", "app2", "app3", "app1")
    heartbeats = [replace(HEARTBEAT, sender=node_id(name), name=name) for name in names]
    payloads = [node_end(each.name).encode(each) for each in heartbeats]
    assert [agent.decode(payload) for payload in payloads] == heartbeats
    assert list(agent._known) == [node_id("app3"), node_id("app1")]


def test_the_key_of_a_node_serves_one_node_of_one_cluster() -> None:
    keys = {
        derive_node_key(CLUSTER_KEY, "example", APP1),
        derive_node_key(CLUSTER_KEY, "example", NodeId(APP1 + 1)),
        derive_node_key(CLUSTER_KEY, "other", APP1),
        derive_node_key(bytes(32), "example", APP1),
    }

    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}
