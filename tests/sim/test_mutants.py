"""The simulator sees: rules of the core broken on purpose, each found within some seeds.

Without these, checks that have gone blind would pass everything.
"""

from collections.abc import Callable
from itertools import count, islice
from typing import Any

import pytest

from haagent.core.actions import Action, SendDatagram
from haagent.core.detector import Detector, Verdict
from haagent.core.election import Election, Say
from haagent.core.group import Group
from haagent.core.journal import Journal
from haagent.core.messages import Header, Objection, ObjectionCode, Resign, ResignPhase
from haagent.core.ownership import AddressAction, Ownership
from haagent.core.preemption import Preemption
from haagent.core.settings import Detection, Preempt
from haagent.core.units import DurationNs, Moment, MonoNs
from haagent.sim.faults import AUDIBLE, Kind
from haagent.sim.swarm import Scenario, _is_one_way, draw, play

SCENARIOS = 60
"""Within so many each mutant must be found; the real core passes them all (test_seeds)."""


def grants_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    """A voter that hears the master, or is the master, lets another one stand."""
    patch.setattr(Election, "_knows_master", lambda *_: False)


def grants_the_lesser(patch: pytest.MonkeyPatch) -> None:
    """A better agent does not object to a lesser one."""
    rule = Election._object

    def consent(self: Election, now: MonoNs, header: Header, call: object) -> Objection | None:
        found = rule(self, now, header, call)  # type: ignore[arg-type]
        return None if found is not None and found.code is ObjectionCode.RANK else found

    patch.setattr(Election, "_object", consent)


def stays_master_when_it_meets_a_better_one(patch: pytest.MonkeyPatch) -> None:
    """The loser of a meeting of two masters does not step down."""
    patch.setattr(Election, "_step_down", lambda *_: [])


def claims_before_the_other_has_let_go(patch: pytest.MonkeyPatch) -> None:
    """A successor takes the question whether it is ready for the handover itself."""
    rule = Election._heard_resign

    def hasty(self: Election, now: MonoNs, header: Header, resign: Resign) -> list[Say]:
        if resign.phase is ResignPhase.PREPARE and resign.successor == self._node:
            return self._succeed(now, resign)
        return rule(self, now, header, resign)

    patch.setattr(Election, "_heard_resign", hasty)


def keeps_its_fence_open_for_longer_than_it_has_promised(patch: pytest.MonkeyPatch) -> None:
    rule = Ownership.vouch

    def vouch(self: Ownership, lease_end: MonoNs) -> list[AddressAction]:
        return rule(self, MonoNs(lease_end + 300_000_000))

    patch.setattr(Ownership, "vouch", vouch)


def forgets_terms(patch: pytest.MonkeyPatch) -> None:
    """Terms of others are not taken over, so that one is used twice."""
    patch.setattr(Election, "_heard_term", lambda *_: [])


def accuses_whoever_is_late(patch: pytest.MonkeyPatch) -> None:
    """Nobody is asked before the verdict."""
    rule = Detector.tick

    def tick(self: Detector, now: MonoNs, *, isolated: bool) -> Verdict:
        verdict = rule(self, now, isolated=isolated)
        return Verdict.DEAD if verdict is Verdict.ASK else verdict

    patch.setattr(Detector, "tick", tick)


def does_not_believe_others(patch: pytest.MonkeyPatch) -> None:
    """What other agents hear of a silent one keeps it alive no longer, nor does their veto."""
    patch.setattr(Detector, "relayed", lambda *_: False)
    patch.setattr(Election, "_knows_master", lambda self, *_: self.state.owns_addresses)


def does_not_wait_before_it_asks_for_a_handover(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Preemption, "delay", lambda *_: DurationNs(0))


def claims_without_a_record(patch: pytest.MonkeyPatch) -> None:
    """Nothing in the journal tells of a change of role."""
    rule = Journal.record

    def record(self: Journal, now: Moment, kind: str, text: str, **rest: Any) -> int:
        return 0 if kind == "role.changed" else rule(self, now, kind, text, **rest)

    patch.setattr(Journal, "record", record)


def opens_its_fence_without_a_heartbeat(patch: pytest.MonkeyPatch) -> None:
    rule = Group._beat

    def beat(self: Group, now: Moment) -> list[Action]:
        return [action for action in rule(self, now) if not isinstance(action, SendDatagram)]

    patch.setattr(Group, "_beat", beat)


def always(scenario: Scenario) -> bool:
    return True


def one_way(scenario: Scenario) -> bool:
    """Of three or more agents one does not hear one other, and nobody asks."""
    return _is_one_way(scenario) and scenario.detection is Detection.FIXED


def one_way_probing(scenario: Scenario) -> bool:
    return _is_one_way(scenario) and scenario.detection is Detection.PROBING


def audible(scenario: Scenario) -> bool:
    """Datagrams are late or lost, agents that are asked are heard."""
    kinds = {fault.kind for fault in scenario.faults}
    return bool(kinds & {Kind.JITTER, Kind.LOSS}) and kinds <= AUDIBLE | {Kind.LOSS}


def preempting(scenario: Scenario) -> bool:
    return scenario.preempt is Preempt.AFTER


@pytest.mark.parametrize(
    ("mutate", "where", "found"),
    [
        (grants_whoever_asks, one_way, "changes of master"),
        (grants_the_lesser, always, "masters of web"),
        (stays_master_when_it_meets_a_better_one, always, "masters of web"),
        (claims_before_the_other_has_let_go, always, "answer for"),
        (keeps_its_fence_open_for_longer_than_it_has_promised, always, "by no heartbeat"),
        (opens_its_fence_without_a_heartbeat, always, "by no heartbeat"),
        (forgets_terms, always, "is also master in term"),
        (accuses_whoever_is_late, audible, "has been silent"),
        (does_not_believe_others, one_way_probing, "changes of master"),
        (does_not_wait_before_it_asks_for_a_handover, preempting, "handed over after"),
        (claims_without_a_record, always, "no record behind"),
    ],
)
def test_a_broken_rule_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None],
    where: Callable[[Scenario], bool],
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenarios = islice(filter(where, map(draw, count())), SCENARIOS)
    mutate(monkeypatch)

    violations = (violation for scenario in scenarios for violation in play(scenario).violations)
    assert any(found in violation for violation in violations)
