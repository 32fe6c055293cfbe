"""What the doctor makes of what was heard on a path, and what it must not."""

from dataclasses import replace

import pytest

from haagent.core.messages import DiscardReason
from haagent.doctor.facts import Asked, Count, Host, Stranger
from haagent.doctor.findings import Severity
from tests.unit.doctor.world import (
    AGENT,
    HEALTHY,
    HOST,
    LB2,
    PATH,
    THEIRS,
    VOICE,
    kinds,
    only,
    with_machine,
    with_path,
    with_voice,
)

DEAF = {LB2: Asked(10, 0, 10, 0)}


def test_nothing_is_found_on_a_healthy_pair() -> None:
    assert kinds(HEALTHY) == []


def test_a_path_without_an_address_is_closed() -> None:
    facts = with_path(trouble="there is no such interface", local=None, voices=(), hosts=())

    assert only(facts).kind == "path.closed"
    assert only(facts).text == "eth0: there is no such interface"


def test_what_the_kernel_does_not_send_is_said() -> None:
    finding = only(with_path(unsent="to 224.0.0.254: Operation not permitted"))

    assert (finding.kind, finding.severity) == ("path.unsent", Severity.ERROR)


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ((), "no other agent is heard"),
        ((replace(HOST, port="open"),), "one runs at 192.0.2.12: a firewall"),
        ((replace(HOST, port="refused"),), "192.0.2.12 is there, but no agent runs on it"),
        ((replace(HOST, port="silent"),), "192.0.2.12 is there, but drops"),
        ((Host(address=THEIRS, protocols=frozenset(), port="silent"),), "answers nothing at all"),
    ],
)
def test_a_silent_path_is_explained_by_what_still_answers(
    hosts: tuple[Host, ...], words: str
) -> None:
    finding = only(with_path(voices=(), asked={}, hosts=hosts))

    assert (finding.kind, finding.severity) == ("path.silent", Severity.ERROR)
    assert words in finding.text


def test_a_path_on_which_nobody_could_listen_is_not_called_silent() -> None:
    facts = replace(with_path(voices=(), local=None, hosts=()), owners=None, undone=("no root",))

    assert kinds(facts) == [("notice", "not.looked")]


def test_multicast_that_does_not_arrive_here_is_blocked() -> None:
    finding = only(with_voice(wire=Count(0, 20), passed=Count(0, 20)))

    assert (finding.kind, finding.severity) == ("multicast.blocked", Severity.ERROR)
    assert "from lb2 nothing that is sent to all arrives here" in finding.text


def test_multicast_that_does_not_arrive_there_is_blocked() -> None:
    by_answers = with_path(asked={LB2: Asked(10, 0, 10, 10)})
    by_its_own_word = with_voice(misses_multicast=True)

    for facts in (by_answers, by_its_own_word):
        assert "at lb2 nothing arrives that this host sends to all" in only(facts).text


def test_two_questions_without_an_answer_may_be_chance() -> None:
    assert kinds(with_path(asked={LB2: Asked(2, 0, 10, 10)})) == []


def test_a_path_with_named_peers_has_no_multicast_to_lose() -> None:
    settings = replace(PATH.settings, peers=(THEIRS,))
    voice = replace(VOICE, wire=Count(0, 20), passed=Count(0, 20))

    assert (
        kinds(with_path(settings=settings, voices=(voice,), asked={LB2: Asked(0, 0, 9, 9)})) == []
    )


def test_what_arrives_and_is_not_let_in_is_dropped_by_this_host() -> None:
    finding = only(with_voice(passed=Count(0, 0)))

    assert (finding.kind, finding.severity) == ("firewall.drops", Severity.ERROR)
    assert "what lb2 sends to all and to this host arrives, and this host drops it: a firewall" in (
        finding.text
    )


def test_the_cause_of_a_drop_is_named_where_it_is_known() -> None:
    machine = with_machine(
        closed_chains=("chain input of nftables' table inet filter",),
        sysctls={"net.ipv4.conf.eth0.rp_filter": "1"},
    ).machine
    facts = replace(with_voice(passed=Count(5, 0)), machine=machine)

    assert only(facts).text.endswith(
        "to this host arrives, and this host drops it: chain input of nftables' table inet filter, "
        "rp_filter, where the route to the sender is another"
    )


def test_one_lost_datagram_is_no_firewall() -> None:
    assert kinds(with_voice(wire=Count(5, 1), passed=Count(5, 0))) == []


def test_somebody_who_is_heard_and_answers_nothing_does_not_hear_us() -> None:
    facts = with_path(asked=DEAF, voices=(replace(VOICE, hears_us=False, wire=Count(9, 0)),))

    assert only(facts).kind == "link.oneway"
    assert "lb2 (192.0.2.12) is heard, but does not hear this host" in only(facts).text


def test_somebody_who_hears_us_and_whose_answers_are_lost_reaches_us_by_multicast_alone() -> None:
    voice = replace(VOICE, hears_us=True, wire=Count(9, 0), passed=Count(9, 0))

    assert only(with_path(asked=DEAF, voices=(voice,))).kind == "link.unicast"
    # What it says to us alone does arrive: then the questions may have been lost.
    assert kinds(with_path(asked=DEAF)) == []


def test_somebody_who_hears_the_doctor_and_not_the_agent_is_told() -> None:
    facts = with_voice(hears_us=False)

    assert kinds(facts) == [("warning", "agent.unheard")]
    just_started = replace(facts, agent=replace(AGENT, uptime_ms=2_000))
    assert kinds(just_started) == []
    without_an_agent = replace(facts, agent=None, agent_trouble="none")
    assert ("warning", "agent.unheard") not in kinds(without_an_agent)


def test_a_host_that_refuses_echo_is_told() -> None:
    facts = with_path(hosts=(replace(HOST, protocols=frozenset({"ARP"})),))

    assert (only(facts).kind, only(facts).severity) == ("icmp.refused", Severity.WARNING)
    assert "192.0.2.12 answers ARP, but no echo" in only(facts).text


@pytest.mark.parametrize("port", ["refused", "silent"])
def test_an_agent_whose_port_cannot_be_reached_is_told(port: str) -> None:
    finding = only(with_path(hosts=(replace(HOST, port=port),)))

    assert (finding.kind, finding.severity) == ("port.closed", Severity.WARNING)


@pytest.mark.parametrize(
    ("reason", "kind", "severity", "alone"),
    [
        (DiscardReason.BAD_MAC, "key.differs", "error", "error"),
        (DiscardReason.OTHER_CLUSTER, "cluster.differs", "notice", "error"),
        (DiscardReason.UNKNOWN_GROUP, "group.unknown", "warning", "warning"),
        (DiscardReason.BAD_TTL, "ttl.changed", "warning", "warning"),
        (DiscardReason.MALFORMED, "port.shared", "warning", "warning"),
    ],
)
def test_strangers_are_told_apart(
    reason: DiscardReason, kind: str, severity: str, alone: str
) -> None:
    stranger = Stranger(source=THEIRS, reason=reason, detail="detail", count=7)
    heard = with_path(strangers=(stranger,))
    nobody = with_path(strangers=(stranger,), voices=(), asked={})

    assert kinds(heard) == [(severity, kind)]
    assert (alone, kind) in kinds(nobody)
    # Another key explains the silence.
    assert (("error", "path.silent") in kinds(nobody)) == (reason is not DiscardReason.BAD_MAC)
    assert "7 datagrams from 192.0.2.12" in only(heard).text


def test_a_key_that_cannot_be_used_explains_why_nobody_is_heard() -> None:
    facts = replace(with_path(voices=()), key_trouble="cluster.key: does not exist", owners=None)

    assert kinds(facts) == [("error", "key.unusable")]
