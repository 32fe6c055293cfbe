"""What the doctor makes of names, files, clocks, masters and addresses, and what it must not."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from haagent.core.identity import node_id
from haagent.core.messages import DiscardReason
from haagent.core.settings import PathSettings
from haagent.doctor.facts import Owner, Stranger
from haagent.doctor.findings import Severity
from tests.unit.doctor.world import (
    AGENT,
    HEALTHY,
    MACHINE,
    PATH,
    SETTINGS,
    THEIR_MAC,
    VIP,
    VOICE,
    WEB,
    as_backup,
    kinds,
    only,
    with_path,
    with_voice,
)

FOREIGN_MAC = "52:54:00:12:34:56"
THEIRS_SHOWN = Owner("eth0", VIP, THEIR_MAC)
FOREIGN_SHOWN = Owner("eth0", VIP, FOREIGN_MAC)


def test_an_agent_that_does_not_run_is_an_error() -> None:
    without_address = replace(MACHINE, addresses=MACHINE.addresses[:1])
    facts = replace(HEALTHY, agent=None, agent_trouble="no such socket", machine=without_address)

    assert only(facts).kind == "agent.down"
    assert "no such socket" in only(facts).text


@pytest.mark.parametrize(
    ("late_ms", "found"),
    [
        (49, []),
        (50, [("warning", "agent.late")]),
        (199, [("warning", "agent.late")]),
        (200, [("error", "agent.late")]),
    ],
)
def test_lateness_counts_against_the_interval(late_ms: float, found: list[tuple[str, str]]) -> None:
    """Of 200 ms."""
    assert kinds(replace(HEALTHY, agent=replace(AGENT, lateness_ms=late_ms))) == found


def test_another_agent_with_our_name_is_a_duplicate() -> None:
    facts = with_path(voices=(VOICE, replace(VOICE, node=node_id("lb1"), name="lb1")))

    assert kinds(facts) == [("error", "node.duplicate")]
    assert "calls itself lb1, as this host" in only(facts).text


def test_two_other_agents_with_one_name_are_duplicates() -> None:
    facts = with_path(voices=(VOICE, replace(VOICE, source=IPv4Address("192.0.2.13"))))

    assert "192.0.2.12, 192.0.2.13 both call themselves lb2" in only(facts).text


def test_one_agent_on_two_paths_is_no_duplicate() -> None:
    elsewhere = replace(VOICE, source=IPv4Address("198.51.100.12"))
    second = replace(PATH, settings=PathSettings(interface="eth1"), voices=(elsewhere,))

    assert kinds(replace(HEALTHY, paths=(PATH, second))) == []


def test_another_configuration_is_told_with_its_group() -> None:
    finding = only(with_voice(configurations={WEB.id: 1}))

    assert (finding.kind, finding.severity) == ("config.differs", Severity.WARNING)
    assert finding.text == "lb2 has other addresses or another interval in web"


@pytest.mark.parametrize(
    ("ahead_ms", "words"),
    [(999, None), (-999, None), (60_000, "60.0 s ahead of"), (-1_500, "1.5 s behind")],
)
def test_clocks_may_differ_by_less_than_a_second(ahead_ms: int, words: str | None) -> None:
    facts = with_voice(ahead_ms=ahead_ms)

    assert [kind for _, kind in kinds(facts)] == (["clock.skew"] if words else [])
    assert words is None or words in only(facts).text


def test_two_masters_are_an_error() -> None:
    facts = with_voice(masters=frozenset({WEB.id}))

    assert kinds(facts) == [("error", "master.two")]
    assert only(facts).text == "group web has more than one master: lb1, lb2"


def test_the_master_that_answers_for_its_address_is_as_it_should_be() -> None:
    assert kinds(as_backup(THEIRS_SHOWN)) == []


def test_an_address_that_an_agent_left_behind_is_found_there() -> None:
    nobody = replace(as_backup(THEIRS_SHOWN), paths=HEALTHY.paths)

    assert only(nobody).kind == "address.left"
    assert "lb2 (192.0.2.12) answers for 192.0.2.100 (group web)" in only(nobody).text


def test_an_address_that_an_agent_left_behind_is_found_here() -> None:
    facts = replace(HEALTHY, agent=None, agent_trouble="none")
    backup = replace(HEALTHY, agent=replace(AGENT, roles={"web": "backup"}))

    assert [kind for _, kind in kinds(facts)] == ["agent.down", "address.left"]
    assert "though its agent is backup" in only(backup).text


def test_an_address_that_we_have_and_a_stranger_too_is_foreign_with_its_vendor() -> None:
    finding = only(replace(HEALTHY, owners=(FOREIGN_SHOWN,)))

    assert (finding.kind, finding.severity) == ("address.foreign", Severity.ERROR)
    assert f"is also used by {FOREIGN_MAC} (QEMU or KVM)" in finding.text


def test_a_stranger_beside_the_master_is_foreign() -> None:
    assert kinds(as_backup(THEIRS_SHOWN, FOREIGN_SHOWN)) == [("error", "address.foreign")]


def test_a_stranger_in_the_place_of_the_master_is_foreign() -> None:
    assert kinds(as_backup(FOREIGN_SHOWN)) == [("error", "address.foreign")]


def test_a_master_that_is_heard_elsewhere_only_may_have_a_mac_that_nobody_knows() -> None:
    """Heartbeats on eth1, the address on eth0."""
    facts = as_backup(FOREIGN_SHOWN)
    paths = tuple(replace(p, settings=PathSettings(interface="eth1")) for p in facts.paths)

    assert kinds(replace(facts, paths=paths)) == []
    two = (FOREIGN_SHOWN, replace(FOREIGN_SHOWN, mac="52:54:00:99:99:99"))
    assert kinds(replace(facts, paths=paths, owners=two)) == [("error", "address.foreign")] * 2


def test_an_agent_with_another_key_is_no_foreign_owner() -> None:
    unread = Stranger(
        source=VOICE.source,
        reason=DiscardReason.BAD_MAC,
        detail="",
        count=5,
        macs=frozenset({FOREIGN_MAC}),
    )
    facts = as_backup(FOREIGN_SHOWN)
    paths = (replace(facts.paths[0], voices=(), asked={}, strangers=(unread,)),)

    assert kinds(replace(facts, paths=paths)) == [("error", "key.differs")]
    neighbour = replace(unread, reason=DiscardReason.OTHER_CLUSTER)
    paths = (replace(facts.paths[0], strangers=(neighbour,)),)
    assert ("error", "address.foreign") in kinds(replace(facts, paths=paths))


def test_an_address_on_another_interface_is_none_of_the_group() -> None:
    assert kinds(replace(HEALTHY, owners=(replace(FOREIGN_SHOWN, interface="eth1"),))) == []


def test_nothing_is_said_of_addresses_that_moved_meanwhile() -> None:
    theirs = replace(as_backup(FOREIGN_SHOWN), paths=with_voice(moved=frozenset({WEB.id})).paths)
    ours = replace(
        HEALTHY,
        owners=(FOREIGN_SHOWN,),
        agent=replace(AGENT, moved=frozenset({"web"})),
    )

    for facts in (theirs, ours):
        assert kinds(facts) == [("notice", "group.moved")]


def test_nothing_is_said_of_addresses_when_nobody_was_asked() -> None:
    left_here = replace(HEALTHY, owners=None, agent=replace(AGENT, roles={"web": "backup"}))

    assert kinds(left_here) == []


def test_the_gravest_comes_first() -> None:
    facts = replace(
        with_voice(ahead_ms=5_000, masters=frozenset({WEB.id})),
        undone=("something",),
        settings=SETTINGS,
    )

    assert [severity for severity, _ in kinds(facts)] == ["error", "warning", "notice"]
