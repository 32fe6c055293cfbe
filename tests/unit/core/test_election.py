"""The election of one group, where a story would hide it: ballots, terms, ranks and answers."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from random import Random

import pytest

from haagent.core.clocks import Hlc, Stamp
from haagent.core.election import Election, Say
from haagent.core.events import DatagramReceived
from haagent.core.identity import (
    HEALTHY,
    NOT_ELECTABLE,
    Ballot,
    BootId,
    NodeId,
    Priority,
    Term,
    node_id,
)
from haagent.core.membership import Membership, Refused
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Datagram,
    Election as Call,
    ElectionKind,
    Flag,
    Goodbye,
    Header,
    Heartbeat,
    Objection,
    ObjectionCode,
    ProbeAck,
    Resign,
    ResignPhase,
    RoleReason,
    State,
)
from haagent.core.peer import Peer
from haagent.core.settings import GroupSettings, HeartbeatSettings, PathSettings, Preempt
from haagent.core.units import MonoNs, milliseconds

LB1, LB2, LB3 = (node_id(name) for name in ("lb1", "lb2", "lb3"))
BOOT = BootId(1)
BEAT = Heartbeat(name="-", reason=RoleReason.FOLLOWING, role_age_ms=0, heard=(), config_hash=0)

TIMING = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))


def at(ms: int) -> MonoNs:
    return MonoNs(milliseconds(ms))


class Stage:
    """The election of lb1, and the peers that it hears."""

    def __init__(self, priority: int = 100, preempt: Preempt = Preempt.NEVER) -> None:
        group = GroupSettings(
            name="web",
            priority=Priority(priority),
            interface="eth0",
            addresses=(IPv4Interface("192.0.2.10/24"),),
            preempt=preempt,
        )
        self.membership = Membership(LB1, BOOT, TIMING, Random(1))
        self.election = Election(
            group=group,
            timing=TIMING,
            membership=self.membership,
            node=LB1,
            boot=BOOT,
            term=Term(0),
            random=Random(1),
        )
        self.sequence = 0
        self.election.link_changed(at(0), up=True)

    def hears(
        self,
        ms: int,
        sender: NodeId,
        body: Body = BEAT,
        *,
        state: State = State.BACKUP,
        priority: int = 100,
        health: int = HEALTHY,
        term: int = 0,
        chosen: bool = False,
    ) -> list[Say]:
        """Let ``sender`` be met if it is new, and say ``body``."""
        header = Header(
            sender=sender,
            boot=BOOT,
            sequence=0,
            group=self.election.group.id,
            path=0,
            flags=(Flag.ELECTABLE if priority else Flag.NONE)
            | (Flag.CHOSEN if chosen else Flag.NONE),
            term=Term(term),
            master=None,
            state=state,
            base_priority=Priority(priority or 100),
            priority=Priority(priority),
            health=health if priority else 0,
            interval_ms=200,
            timeout_ms=650,
            stamp=Stamp(Hlc(0, 0), 0),
        )
        if self.membership.get(sender) is None:
            refused = self._admit(ms, header, BEAT)
            assert isinstance(refused, Refused)
            assert refused.challenge is not None
            self._admit(ms, header, ProbeAck(destination=LB1, nonce=refused.challenge.nonce))
        assert isinstance(self._admit(ms, header, body), Peer)
        return self.election.heard(at(ms), header, body)

    def _admit(self, ms: int, header: Header, body: Body) -> Peer | Refused:
        self.sequence += 1
        datagram = Datagram(replace(header, sequence=self.sequence), body)
        source = IPv4Address("10.0.0.2")
        event = DatagramReceived(path=0, source=source, received_at=at(ms), datagram=datagram)
        return self.membership.admit(at(ms), event)


def mastering(priority: int = 100) -> Stage:
    stage = Stage(priority)
    stage.election.tick(at(1000))
    assert stage.election.state is State.MASTER
    return stage


def candidate() -> Stage:
    """lb1 stands at a cold start and waits for lb2 and lb3."""
    stage = Stage()
    stage.hears(900, LB2, priority=90)
    stage.hears(900, LB3, priority=80)
    stage.election.tick(at(1000))
    assert stage.election.state is State.CANDIDATE
    return stage


def answer(objection: ObjectionCode | None, number: int = 1, remaining_ms: int = 0) -> Answer:
    veto = None
    if objection is not None:
        veto = Objection(code=objection, remaining_ms=remaining_ms, term=Term(0))
    return Answer(destination=LB1, ballot=Ballot(LB1, BOOT, number), objection=veto)


def vote(term: int, kind: ElectionKind = ElectionKind.VOTE) -> Call:
    return Call(kind=kind, ballot=Ballot(LB2, BOOT, 7), proposed_term=Term(term))


def test_an_agent_that_listens_is_not_electable_and_claims_nothing() -> None:
    stage = Stage()

    assert stage.election.tick(MonoNs(at(1000) - 1)) == []
    assert stage.election.state is State.LISTEN
    assert stage.election.priority == NOT_ELECTABLE


def test_whom_nobody_ever_answered_wins_at_once() -> None:
    assert mastering().election.term == 1


def test_every_mastership_has_a_ballot_of_its_own() -> None:
    """An answer or a READY that belongs to an earlier one must not count for the next."""
    stage = Stage()
    first = stage.election.tick(at(1000))
    stage.election.link_changed(at(2000), up=False)
    stage.election.link_changed(at(3000), up=True)
    second = stage.election.tick(at(4000))

    assert first == [Say(Coordinator(ballot=Ballot(LB1, BOOT, 1)))]
    assert second == [Say(Coordinator(ballot=Ballot(LB1, BOOT, 2)))]


def test_a_mastership_that_was_handed_over_has_a_ballot_of_its_own_too() -> None:
    stage = mastering(priority=200)
    stage.hears(1100, LB2, state=State.MASTER, priority=210, term=2)
    commit = Resign(phase=ResignPhase.COMMIT, ballot=Ballot(LB2, BOOT, 3), successor=LB1)

    assert stage.hears(1200, LB2, commit, priority=90, term=2) == [
        Say(Coordinator(ballot=Ballot(LB1, BOOT, 2)))
    ]
    assert stage.election.term == 3


def test_a_candidate_wins_when_all_have_granted_and_not_before() -> None:
    stage = candidate()

    assert stage.hears(1001, LB2, answer(None), priority=90) == []
    assert stage.election.state is State.CANDIDATE
    (said,) = stage.hears(1002, LB3, answer(None), priority=80)
    second = Ballot(LB1, BOOT, 2)
    assert said == Say(Call(kind=ElectionKind.VOTE, ballot=second, proposed_term=Term(1)))
    assert stage.hears(1003, LB2, answer(None, number=2), priority=90) == []
    assert stage.hears(1004, LB3, answer(None, number=1), priority=80) == []
    assert stage.hears(1005, LB3, answer(None, number=2), priority=80) == [
        Say(Coordinator(ballot=second))
    ]


def test_who_does_not_answer_the_first_question_is_not_asked_the_second() -> None:
    stage = candidate()

    assert stage.election.tick(at(1030)) == [Say(Coordinator(ballot=Ballot(LB1, BOOT, 1)))]


def test_one_that_grants_twice_is_one() -> None:
    stage = candidate()
    stage.hears(1001, LB2, answer(None), priority=90)
    stage.hears(1002, LB2, answer(None), priority=90)

    assert stage.election.state is State.CANDIDATE


def test_an_answer_to_an_earlier_candidacy_counts_for_nothing() -> None:
    stage = candidate()
    stage.hears(1001, LB2, answer(None, number=0), priority=90)
    stage.hears(1001, LB3, answer(None, number=0), priority=80)
    stage.hears(1002, LB3, answer(ObjectionCode.RANK, number=0), priority=80)

    assert stage.election.state is State.CANDIDATE


@pytest.mark.parametrize(
    ("code", "waits_ms"),
    [(ObjectionCode.RANK, 90), (ObjectionCode.ALIVE, 450), (ObjectionCode.NOT_READY, 450)],
)
def test_an_objection_says_for_how_long_to_wait(code: ObjectionCode, waits_ms: int) -> None:
    stage = candidate()
    stage.hears(1001, LB2, answer(code, remaining_ms=450), priority=90)

    assert stage.election.state is State.BACKUP
    assert stage.election.deadline() == at(1001 + waits_ms)


def test_the_objection_term_is_followed_by_a_short_wait_of_random_length() -> None:
    stage = candidate()
    stage.hears(1001, LB2, answer(ObjectionCode.TERM), priority=90, term=5)

    due = stage.election.deadline()
    assert due is not None
    assert at(1001) <= due < at(1031)
    assert stage.election.term == 5


def test_the_term_never_falls() -> None:
    stage = mastering()
    stage.hears(1100, LB2, priority=90, term=5)
    before = stage.election.term
    stage.hears(1200, LB2, priority=90, term=2)

    assert (before, stage.election.term) == (6, 6)


@pytest.mark.parametrize(
    ("term", "expected"), [(1, ObjectionCode.TERM), (2, None)], ids=["refused", "granted"]
)
def test_a_term_that_was_used_is_not_granted_again(
    term: int, expected: ObjectionCode | None
) -> None:
    stage = Stage(priority=50)
    stage.hears(900, LB2, term=1)
    (said,) = stage.hears(910, LB2, vote(term), state=State.CANDIDATE, term=1)

    assert isinstance(said.body, Answer)
    assert (said.body.objection and said.body.objection.code) == expected


def test_a_master_vetoes_every_candidate_whatever_its_rank() -> None:
    stage = mastering()
    (said,) = stage.hears(1100, LB2, vote(9), state=State.CANDIDATE, priority=250)

    veto = Objection(code=ObjectionCode.ALIVE, remaining_ms=250, term=Term(1))
    ballot = Ballot(LB2, BOOT, 7)
    assert said == Say(Answer(destination=LB2, ballot=ballot, objection=veto), to=LB2)


def test_one_that_listens_asks_a_lesser_candidate_to_wait_and_grants_a_better_one() -> None:
    stage = Stage(priority=100)
    stage.hears(300, LB2, priority=90)
    (lesser,) = stage.hears(400, LB2, vote(1), state=State.CANDIDATE, priority=90)
    stage.hears(500, LB3, priority=110)
    (better,) = stage.hears(600, LB3, vote(1), state=State.CANDIDATE, priority=110)

    assert isinstance(lesser.body, Answer)
    assert lesser.body.objection == Objection(
        code=ObjectionCode.NOT_READY, remaining_ms=600, term=Term(0)
    )
    assert isinstance(better.body, Answer)
    assert better.body.objection is None


def test_a_question_beforehand_changes_nothing_where_it_is_granted() -> None:
    stage = candidate()
    pre = vote(1, ElectionKind.PRE)
    stage.hears(1001, LB2, pre, state=State.CANDIDATE, priority=110)

    assert stage.election.state is State.CANDIDATE


def test_a_candidate_gives_way_to_a_better_one() -> None:
    stage = candidate()
    stage.hears(1001, LB2, vote(1), state=State.CANDIDATE, priority=110)

    assert stage.election.state is State.BACKUP
    assert stage.election.deadline() == at(1001 + 90)


def test_equal_priorities_are_settled_by_the_node_on_both_sides_alike() -> None:
    stage = mastering(priority=100)
    stage.hears(1100, LB2, state=State.MASTER, priority=100, term=1)

    assert stage.election.state is (State.BACKUP if LB2 > LB1 else State.MASTER)


def test_a_goodbye_of_the_master_is_answered_by_standing_at_once() -> None:
    stage = Stage()
    stage.hears(300, LB2, state=State.MASTER, priority=200, term=7)
    says = stage.hears(
        400, LB2, Goodbye(reason=RoleReason.LINK_DOWN), state=State.FAULT, priority=0, term=7
    )

    assert [type(say.body) for say in says] == [Call]
    assert stage.election.state is State.CANDIDATE


def test_a_goodbye_of_somebody_else_changes_nothing() -> None:
    stage = Stage()
    stage.hears(300, LB2, state=State.MASTER, priority=200, term=7)
    stage.hears(310, LB3, priority=80)
    stage.hears(400, LB3, Goodbye(reason=RoleReason.LINK_DOWN), state=State.FAULT, priority=0)

    assert (stage.election.state, stage.election.master) == (State.BACKUP, LB2)


def test_a_commit_of_one_that_is_not_master_moves_nothing() -> None:
    stage = Stage()
    stage.hears(300, LB2, state=State.MASTER, priority=90, term=7)
    stage.hears(310, LB3, priority=80)
    commit = Resign(phase=ResignPhase.COMMIT, ballot=Ballot(LB3, BOOT, 1), successor=LB1)

    assert stage.hears(400, LB3, commit, priority=80) == []
    assert stage.election.state is State.BACKUP


def test_ready_for_another_mastership_commits_nothing() -> None:
    stage = mastering()
    stage.hears(1100, LB2, priority=200)
    stage.hears(1200, LB2, vote(2, ElectionKind.TRANSFER), priority=200)
    ready = Resign(phase=ResignPhase.READY, ballot=Ballot(LB1, BOOT, 9), successor=LB2)

    assert stage.hears(1201, LB2, ready, priority=200) == []
    assert stage.election.state is State.RESIGNING


def test_an_agent_without_its_interface_hears_but_follows_nobody() -> None:
    stage = Stage()
    stage.election.link_changed(at(100), up=False)
    stage.hears(300, LB2, state=State.MASTER, priority=200, term=7)

    assert (stage.election.state, stage.election.master) == (State.FAULT, None)
    assert stage.election.term == 7


def test_a_stall_during_a_stop_ends_it() -> None:
    """The peers have taken over: there is nothing left to hand over."""
    stage = mastering()
    stage.hears(1100, LB2, priority=90)
    stage.election.stop(at(1200))
    says = stage.election.stalled(at(1900))

    assert says == [Say(Goodbye(reason=RoleReason.STOPPING))]
    assert stage.election.stopped


def test_a_second_stop_changes_nothing() -> None:
    stage = mastering()
    stage.hears(1100, LB2, priority=90)
    stage.election.stop(at(1200))

    assert stage.election.stop(at(1300)) == []
    assert stage.election.state is State.RESIGNING


def test_an_agent_that_takes_no_part_says_goodbye_too_when_it_stops() -> None:
    """Once: its peers need not wait for its silence to know that it is gone."""
    stage = Stage()
    stage.election.link_changed(at(100), up=False)

    assert stage.election.stop(at(200)) == [Say(Goodbye(reason=RoleReason.STOPPING))]
    assert stage.election.stop(at(201)) == []
    assert stage.election.stopped


def test_a_grant_that_is_read_after_the_wait_wins_nothing_at_once() -> None:
    """The candidate slept: what came after the grants, a victory say, waits unread."""
    stage = candidate()
    stage.hears(1100, LB2, answer(None), priority=90)
    stage.hears(1100, LB3, answer(None), priority=80)
    assert stage.election.state is State.CANDIDATE

    stage.election.tick(at(1100))
    stage.hears(1100, LB2, Coordinator(ballot=Ballot(LB2, BOOT, 1)), state=State.MASTER, term=1)

    assert (stage.election.state, stage.election.master) == (State.BACKUP, LB2)


def test_a_wait_is_prolonged_once_when_the_agent_slept_over_its_end() -> None:
    stage = candidate()
    stage.election.tick(at(1100))
    assert (stage.election.state, stage.election.deadline()) == (State.CANDIDATE, at(1130))

    stage.election.tick(at(1200))

    assert stage.election.state is State.MASTER


def test_a_wait_whose_end_is_noticed_a_little_late_is_over() -> None:
    stage = candidate()
    stage.election.tick(at(1035))

    assert stage.election.state is State.MASTER


def test_who_hears_a_lesser_master_of_two_does_not_stand_beside_them() -> None:
    """It had granted the vote of that one, which has won since."""
    stage = Stage(priority=50)
    stage.hears(300, LB2, state=State.MASTER, priority=200, term=7)
    stage.hears(300, LB3)
    stage.hears(950, LB3, vote(8), state=State.CANDIDATE)
    assert stage.election.deadline() == at(1040)

    stage.hears(960, LB3, state=State.MASTER, term=8)

    assert stage.election.deadline() is None


def test_the_interface_coming_up_changes_nothing_for_one_that_takes_part() -> None:
    stage = mastering()

    assert stage.election.link_changed(at(1100), up=True) == []
    assert stage.election.state is State.MASTER


def test_while_two_others_settle_who_is_master_the_better_one_is_followed() -> None:
    stage = Stage(priority=50)
    stage.hears(300, LB2, state=State.MASTER, priority=200, term=7)
    stage.hears(310, LB3, state=State.MASTER, priority=100, term=8)
    followed = stage.election.master
    stage.hears(320, LB2, state=State.BACKUP, priority=200, term=8)
    stage.hears(330, LB3, state=State.MASTER, priority=100, term=8)

    assert (followed, stage.election.master) == (LB2, LB3)


def demoted(by: int = 1, *, better_off: int | None = None) -> Stage:
    """lb1 is master of priority 200 when a check demotes it; lb2, of priority 1, may be there."""
    stage = mastering(priority=200)
    if better_off is not None:
        stage.hears(1100, LB2, priority=1, health=better_off)
    stage.election.set_health(at(1200), released=False, demoted_by=by)
    return stage


def test_a_demoted_master_hands_over_to_whoever_is_better_off_whatever_its_priority() -> None:
    stage = demoted(better_off=HEALTHY)

    assert (stage.election.state, stage.election.rank[0]) == (State.RESIGNING, HEALTHY - 1)


@pytest.mark.parametrize("health", [HEALTHY - 1, HEALTHY - 2])
def test_a_demoted_master_stays_where_nobody_is_better_off(health: int) -> None:
    stage = demoted(better_off=health)

    assert stage.election.state is State.MASTER
    assert stage.hears(1300, LB2, priority=1, health=health) == []
    stage.election.tick(at(1301))
    assert stage.election.state is State.MASTER


def test_a_demoted_master_hands_over_as_soon_as_somebody_is_better_off() -> None:
    stage = demoted(by=2, better_off=HEALTHY - 2)
    stage.hears(1300, LB2, priority=1, health=HEALTHY - 1)

    (prepare,) = stage.election.tick(at(1300))

    assert isinstance(prepare.body, Resign)
    assert prepare.body.successor == LB2


def test_a_demoted_master_that_is_paused_stays() -> None:
    stage = mastering(priority=200)
    stage.hears(1100, LB2, priority=1)
    stage.election.steer(at(1150), maintenance=False, paused=True)

    stage.election.set_health(at(1200), released=False, demoted_by=1)

    assert stage.election.state is State.MASTER


def test_a_demoted_agent_is_electable_and_objects_to_nobody_that_is_better_off() -> None:
    stage = mastering(priority=200)
    stage.hears(1100, LB2, state=State.MASTER, priority=210)
    stage.hears(1100, LB3, priority=1)
    stage.election.set_health(at(1200), released=False, demoted_by=1)
    stage.hears(1250, LB2, Goodbye(reason=RoleReason.STOPPING), priority=0, state=State.FAULT)

    (said, *_) = stage.hears(1251, LB3, vote(term=2, kind=ElectionKind.PRE), priority=1)

    assert isinstance(said.body, Answer)
    assert (said.body.objection, stage.election.priority) == (None, 200)


def test_the_health_of_one_that_is_not_electable_is_0() -> None:
    assert Stage().election.health == 0


def test_a_master_is_released_by_a_check_and_says_so() -> None:
    stage = mastering()

    says = stage.election.set_health(at(1200), released=True, demoted_by=0)

    assert says == [Say(Goodbye(reason=RoleReason.CHECK_FAILED))]
    assert stage.election.state is State.FAULT


def test_a_master_that_is_paused_is_released_when_the_pause_is_over() -> None:
    stage = mastering()
    stage.election.steer(at(1100), maintenance=False, paused=True)
    kept = stage.election.set_health(at(1200), released=True, demoted_by=0)
    state = stage.election.state

    says = stage.election.steer(at(1300), maintenance=False, paused=False)

    assert (kept, state) == ([], State.MASTER)
    assert says == [Say(Goodbye(reason=RoleReason.CHECK_FAILED))]


def test_a_master_that_is_paused_stays_if_the_check_passes_meanwhile() -> None:
    stage = mastering()
    stage.election.steer(at(1100), maintenance=False, paused=True)
    stage.election.set_health(at(1200), released=True, demoted_by=0)
    stage.election.set_health(at(1250), released=False, demoted_by=0)

    assert stage.election.steer(at(1300), maintenance=False, paused=False) == []
    assert stage.election.state is State.MASTER


def test_one_that_is_released_comes_back_by_listening() -> None:
    stage = mastering()
    stage.election.set_health(at(1200), released=True, demoted_by=0)
    assert stage.election.set_health(at(1300), released=True, demoted_by=1) == []

    stage.election.set_health(at(1400), released=False, demoted_by=0)

    assert stage.election.state is State.LISTEN


def test_a_link_that_returns_brings_nobody_back_whom_a_check_keeps_out() -> None:
    stage = mastering()
    stage.election.set_health(at(1200), released=True, demoted_by=0)
    stage.election.link_changed(at(1300), up=False)
    stage.election.link_changed(at(1400), up=True)

    assert (stage.election.state, stage.election.reason) == (State.FAULT, RoleReason.CHECK_FAILED)


def test_a_check_that_passes_brings_nobody_back_whose_link_is_down() -> None:
    stage = mastering()
    stage.election.link_changed(at(1200), up=False)
    stage.election.set_health(at(1300), released=True, demoted_by=0)
    stage.election.set_health(at(1400), released=False, demoted_by=0)

    assert (stage.election.state, stage.election.reason) == (State.FAULT, RoleReason.LINK_DOWN)


def test_a_check_that_fails_before_the_link_is_known_keeps_out() -> None:
    stage = Stage()
    stage.election.link_changed(at(100), up=False)
    stage.election.set_health(at(200), released=True, demoted_by=0)

    assert stage.election.link_changed(at(300), up=True) == []
    assert stage.election.state is State.FAULT


def test_an_agent_that_could_not_claim_does_not_return_while_a_check_keeps_it_out() -> None:
    stage = mastering()
    stage.election.claim_failed(at(1200))
    stage.election.set_health(at(1300), released=True, demoted_by=0)

    stage.election.tick(at(11_200))

    assert (stage.election.state, stage.election.reason) == (State.FAULT, RoleReason.CHECK_FAILED)


# An operator's choice


def chosen(demoted_by: int = 0) -> Stage:
    """lb1 is master because an operator chose it before lb2, which the files prefer."""
    stage = Stage(priority=90)
    stage.hears(900, LB2, state=State.MASTER, priority=200, term=1)
    stage.election.set_health(at(910), released=False, demoted_by=demoted_by)
    invitation = Resign(phase=ResignPhase.PREPARE, ballot=Ballot(LB2, BOOT, 1), successor=LB1)
    stage.hears(950, LB2, invitation, state=State.RESIGNING, priority=200, term=1, chosen=True)
    commit = replace(invitation, phase=ResignPhase.COMMIT)
    stage.hears(960, LB2, commit, priority=200, term=1)
    assert stage.election.state is State.MASTER
    assert stage.election.marks_choice
    return stage


def test_the_choice_of_a_master_is_shown_as_its_reason() -> None:
    assert chosen().election.shown_reason is RoleReason.CHOSEN


def test_who_was_chosen_grants_no_handover_to_a_better_one() -> None:
    stage = chosen()

    assert stage.hears(1000, LB2, vote(term=3, kind=ElectionKind.TRANSFER), priority=200) == []
    assert stage.election.state is State.MASTER


def test_who_was_chosen_hands_over_when_a_check_demotes_it() -> None:
    stage = chosen()

    stage.election.set_health(at(1000), released=False, demoted_by=1)

    assert stage.election.state is State.RESIGNING
    assert not stage.election.marks_choice, "that one is no choice of an operator's"


def test_who_was_chosen_although_demoted_stays_until_it_gets_worse() -> None:
    stage = chosen(demoted_by=1)

    stage.election.set_health(at(1000), released=False, demoted_by=1)
    state = stage.election.state
    stage.election.set_health(at(1100), released=False, demoted_by=2)

    assert (state, stage.election.state) == (State.MASTER, State.RESIGNING)


def test_who_was_chosen_demoted_and_is_well_again_stays_only_while_it_is_well() -> None:
    stage = chosen(demoted_by=1)
    stage.election.set_health(at(1000), released=False, demoted_by=0)
    state = stage.election.state

    stage.election.set_health(at(1100), released=False, demoted_by=1)

    assert (state, stage.election.state) == (State.MASTER, State.RESIGNING)


def test_two_masters_that_meet_go_by_rank_and_not_by_choice() -> None:
    stage = chosen()

    stage.hears(1000, LB2, state=State.MASTER, priority=200, term=3)

    assert stage.election.state is State.BACKUP
    assert not stage.election.marks_choice


def test_a_choice_ends_with_the_mastership() -> None:
    stage = chosen()

    stage.election.link_changed(at(1000), up=False)

    assert (stage.election.chosen, stage.election.marks_choice) == (None, False)


def test_a_chosen_master_that_is_drained_hands_over_without_a_choice() -> None:
    stage = chosen()

    stage.election.steer(at(1000), maintenance=True, paused=False)

    assert stage.election.state is State.RESIGNING
    assert not stage.election.marks_choice


def test_a_paused_master_hands_over_to_whom_an_operator_chooses() -> None:
    stage = mastering(priority=200)
    stage.hears(1100, LB2, priority=1)
    stage.election.steer(at(1150), maintenance=False, paused=True)

    (said,) = stage.election.fail_over(at(1200), LB2)

    assert isinstance(said.body, Resign)
    assert (said.body.phase, said.body.successor) == (ResignPhase.PREPARE, LB2)
    assert stage.election.marks_choice


@pytest.mark.parametrize(("priority", "to"), [(0, LB2), (100, LB3)])
def test_nobody_is_chosen_who_cannot_take_over_or_is_not_known(priority: int, to: NodeId) -> None:
    stage = mastering()
    stage.hears(1100, LB2, priority=priority)

    assert stage.election.fail_over(at(1200), to) == []
    assert stage.election.state is State.MASTER


def test_who_is_leaving_already_hands_over_as_it_has_begun_to() -> None:
    stage = mastering()
    stage.hears(1100, LB2)
    stage.hears(1100, LB3)
    stage.election.stop(at(1200))

    assert stage.election.fail_over(at(1201), LB2) == []
    assert not stage.election.marks_choice


def test_a_choice_that_came_to_nothing_is_not_that_of_the_next_handover() -> None:
    stage = mastering()
    stage.hears(1100, LB2)
    stage.hears(1100, LB3)
    stage.election.fail_over(at(1200), LB2)
    stage.hears(1300, LB2, Goodbye(reason=RoleReason.STOPPING), priority=0, state=State.FAULT)
    before = stage.election.state

    stage.election.stop(at(1400))

    assert (before, stage.election.state) == (State.MASTER, State.RESIGNING)
    assert not stage.election.marks_choice
