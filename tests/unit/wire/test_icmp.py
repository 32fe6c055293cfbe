"""ICMP echo, read and answered by another implementation (scapy)."""

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest
from scapy.packet import Packet, Raw

from haagent.wire.icmp import checksum, echo_request, echoed

DATA = b"whatever!"
BOTH = pytest.mark.parametrize("version", [4, 6])


def reply(version: int, **fields: int) -> bytes:
    message: Packet = ICMP(type=0, id=0xABCD) if version == 4 else ICMPv6EchoReply(id=0xABCD)
    for name, value in fields.items():
        setattr(message, name, value)
    return bytes(message / Raw(DATA))


def test_a_question_in_ipv4_has_its_checksum() -> None:
    message = echo_request(4, 0xABCD, DATA)
    read = ICMP(message)

    assert (read.type, read.code, read.id, bytes(read.payload)) == (8, 0, 0xABCD, DATA)
    assert checksum(message) == 0


def test_a_question_in_ipv6_leaves_the_checksum_to_the_kernel() -> None:
    read = ICMPv6EchoRequest(echo_request(6, 0xABCD, DATA))

    assert (read.type, read.code, read.id, read.cksum, read.data) == (128, 0, 0xABCD, 0, DATA)


@BOTH
def test_an_answer_brings_back_what_was_sent(version: int) -> None:
    assert echoed(version, 0xABCD, reply(version)) == DATA


@BOTH
def test_an_answer_to_another_a_question_or_an_error_is_none(version: int) -> None:
    assert echoed(version, 0xABCE, reply(version)) is None
    assert echoed(version, 0xABCD, reply(version, code=1)) is None
    assert echoed(version, 0xABCD, echo_request(version, 0xABCD, DATA)) is None
    assert echoed(10 - version, 0xABCD, reply(version)) is None


@BOTH
def test_a_truncated_message_is_no_answer(version: int) -> None:
    assert {echoed(version, 0xABCD, reply(version)[:size]) for size in range(8)} == {None}
