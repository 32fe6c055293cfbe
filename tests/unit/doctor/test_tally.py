"""What is counted of what comes on a path."""

from dataclasses import replace
from ipaddress import IPv4Address

from haagent.core.identity import NodeId, node_id
from haagent.core.messages import Datagram, Discard, DiscardReason, Heard, Probe, ProbeAck, State
from haagent.core.settings import MULTICAST_IPV4, IPAddress, PathSettings
from haagent.core.units import WallNs
from haagent.doctor.facts import Asked, Count, Stranger
from haagent.doctor.tally import MOST_STRANGERS, Tally
from haagent.wire.inspection import Inspected, Proof
from haagent.wire.udp import UdpDatagram
from tests.unit.wire.test_heartbeat import HEADER, HEARTBEAT, LB1

US: NodeId = node_id("lb2")
OURS, THEIRS = IPv4Address("192.0.2.2"), IPv4Address("192.0.2.1")
MAC = "02:00:c0:00:02:01"
AT = WallNs(1_700_000_000_000_000_000)
SAID = Datagram(HEADER, HEARTBEAT)


def tally() -> Tally:
    return Tally(PathSettings(interface="eth0"), OURS, US)


def udp(destination: IPAddress = MULTICAST_IPV4, source: IPAddress = THEIRS) -> UdpDatagram:
    return UdpDatagram(
        source=source,
        destination=destination,
        ttl=255,
        source_port=6940,
        destination_port=6940,
        payload=b"",
    )


def genuine(said: Datagram = SAID) -> Inspected:
    return Inspected(said, Proof.OK, None)


def test_a_heartbeat_makes_a_voice() -> None:
    counted = tally()
    counted.saw(AT, MAC, udp(), genuine())
    counted.saw(AT, MAC, udp(OURS), genuine())
    counted.let_in(udp(), genuine())

    (voice,) = counted.path(()).voices

    assert (voice.node, voice.name, voice.source) == (LB1, "lb1", THEIRS)
    assert (voice.macs, voice.wire, voice.passed) == (frozenset({MAC}), Count(1, 1), Count(1, 0))
    assert (voice.hears_us, voice.misses_multicast, voice.ahead_ms) == (True, False, 123)
    assert voice.configurations == {HEADER.group: HEARTBEAT.config_hash}
    assert (voice.masters, voice.moved) == (frozenset({HEADER.group}), frozenset())


def test_who_does_not_list_us_does_not_hear_us() -> None:
    counted = tally()
    counted.saw(AT, MAC, udp(), genuine(replace(SAID, body=replace(HEARTBEAT, heard=()))))

    assert counted.path(()).voices[0].hears_us is False


def test_who_hears_us_by_unicast_alone_misses_multicast() -> None:
    entry = Heard(node=US, sequence_low=1, age_us=1, by_unicast_only=True)
    counted = tally()
    counted.saw(AT, MAC, udp(), genuine(replace(SAID, body=replace(HEARTBEAT, heard=(entry,)))))

    assert counted.path(()).voices[0].misses_multicast


def test_a_master_that_ceases_to_be_one_has_moved() -> None:
    counted = tally()
    counted.saw(AT, MAC, udp(), genuine())
    backup = replace(HEADER, state=State.BACKUP)
    counted.saw(AT, MAC, udp(), genuine(replace(SAID, header=backup)))

    (voice,) = counted.path(()).voices
    assert (voice.masters, voice.moved) == (frozenset(), frozenset({HEADER.group}))


def test_answers_count_by_how_they_were_asked_for() -> None:
    counted = tally()
    for nonce, of_all in ((1, True), (2, True), (3, False)):
        counted.asks(Probe(destination=LB1, nonce=nonce), of_all=of_all)
    for nonce in (1, 1, 3, 99):
        ack = ProbeAck(destination=US, nonce=nonce)
        counted.saw(AT, MAC, udp(OURS), genuine(replace(SAID, body=ack)))

    assert counted.path(()).asked == {LB1: Asked(2, 1, 1, 1)}


def test_what_is_not_proven_is_a_stranger_and_no_voice() -> None:
    counted = tally()
    forged = Inspected(SAID, Proof.BAD_MAC, None)
    other = Inspected(SAID, Proof.UNVERIFIED, Discard(DiscardReason.OTHER_CLUSTER, "01020304"))
    for inspected in (forged, forged, other):
        counted.saw(AT, MAC, udp(), inspected)

    path = counted.path(())
    assert path.voices == ()
    assert [(each.reason, each.count) for each in path.strangers] == [
        (DiscardReason.BAD_MAC, 2),
        (DiscardReason.OTHER_CLUSTER, 1),
    ]
    assert path.strangers[0] == Stranger(
        source=THEIRS, reason=DiscardReason.BAD_MAC, detail="", count=2, macs=frozenset({MAC})
    )


def test_a_genuine_datagram_with_another_ttl_is_discarded_as_an_agent_does() -> None:
    counted = tally()
    far = Inspected(SAID, Proof.OK, Discard(DiscardReason.BAD_TTL, "64 instead of 255"))
    counted.saw(AT, MAC, udp(), far)

    path = counted.path(())
    assert (path.voices, path.strangers[0].reason) == ((), DiscardReason.BAD_TTL)


def test_what_is_for_another_host_or_from_this_one_does_not_count() -> None:
    counted = tally()
    counted.saw(AT, MAC, udp(IPv4Address("192.0.2.3")), genuine())
    counted.saw(AT, MAC, udp(source=OURS), genuine())

    assert counted.path(()).voices == ()


def test_a_flood_of_sources_takes_no_memory() -> None:
    counted = tally()
    garbage = Inspected(None, Proof.UNVERIFIED, Discard(DiscardReason.MALFORMED, "7 bytes"))
    for number in range(10 * MOST_STRANGERS):
        counted.saw(AT, MAC, udp(source=IPv4Address(number + 1)), garbage)

    assert len(counted.path(()).strangers) == MOST_STRANGERS
