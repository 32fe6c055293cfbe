"""Shrinking: of many faults those are left without which nothing fails."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.election import Election
from haagent.core.units import MonoNs, milliseconds
from haagent.sim.__main__ import main
from haagent.sim.faults import Fault, Kind, targets_of
from haagent.sim.network import Delays
from haagent.sim.scenario import read, written
from haagent.sim.shrink import failures, shrink
from haagent.sim.swarm import Scenario, draw, play

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yml"))


def ms(count: int) -> MonoNs:
    return MonoNs(milliseconds(count))


def many_faults() -> Scenario:
    """Twelve faults of five agents, of which two will matter, and no default option."""
    faults = [
        Fault(
            kind=Kind.KILL,
            at=ms(4321 + 1100 * number),
            length=milliseconds(1234),
            targets=(f"lb{1 + number % 5}",),
        )
        for number in range(12)
    ]
    faults[3] = replace(faults[3], kind=Kind.PAUSE)
    faults[8] = replace(faults[8], kind=Kind.PARTITION, targets=("lb4", "lb5"))
    return Scenario(
        seed=1, agents=5, groups=2, codec=True, delays=Delays.CONSTANT, faults=tuple(faults)
    )


def test_what_does_not_matter_is_left_out_and_what_does_becomes_plain() -> None:
    def pause_and_partition(scenario: Scenario) -> list[str]:
        for fault in scenario.faults:
            assert len(fault.targets) in targets_of(fault.kind, scenario.agents)
            assert set(fault.targets) <= set(scenario.nodes)
        lengths = {fault.kind: fault.length for fault in scenario.faults}
        long = (lengths.get(Kind.PAUSE) or 0) > milliseconds(300)
        return ["both"] if long and Kind.PARTITION in lengths else []

    small = shrink(many_faults(), pause_and_partition)

    assert (
        written(small)
        == """\
seed: 1
agents: 2
faults:
  - {at: 7s, kind: pause, target: lb2, length: 500ms}
  - {at: 13s, kind: partition, target: lb2, length: 10ms}
"""
    )


def test_a_scenario_that_cannot_be_smaller_stays_as_it_is() -> None:
    scenario = Scenario(seed=1, agents=2, faults=(Fault(kind=Kind.REPLAY, at=ms(5000), amount=9),))

    assert shrink(scenario, lambda each: ["x"] * (each == scenario)) == scenario


def test_a_planted_bug_is_shrunk_to_the_faults_that_show_it_and_replayed_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A master that meets a better one does not step down."""

    def masters(scenario: Scenario) -> list[str]:
        return [each for each in play(scenario).violations if each.startswith("masters of")]

    monkeypatch.setattr(Election, "_step_down", lambda *_: [])
    drawn = map(draw, range(100))
    failing = next(each for each in drawn if len(each.faults) > 3 and masters(each))

    small = shrink(failing, masters)
    file = tmp_path / "two_masters.yml"
    file.write_text(written(small))

    assert 1 <= len(small.faults) <= 2, file.read_text()
    assert masters(read(file)) == masters(small) != []
    monkeypatch.undo()
    assert masters(read(file)) == []


def test_a_core_that_raises_is_shrunk_like_any_other_find(monkeypatch: pytest.MonkeyPatch) -> None:
    def heard_by_nobody(*_: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(Election, "stalled", heard_by_nobody)
    small = shrink(many_faults())

    assert failures(small) == ("KeyError: 'gone'",)
    assert [fault.kind for fault in small.faults] == [Kind.PAUSE]


def test_the_smallest_scenario_of_a_seed_is_printed_as_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Election, "_step_down", lambda *_: [])
    seed = next(seed for seed in range(100) if failures(draw(seed)))
    monkeypatch.setattr(sys, "argv", ["haagent.sim", "--shrink", str(seed)])

    assert main() == 0
    file = tmp_path / "small.yml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text().startswith(f"# {failures(read(file))[0]}\nseed: {seed}\n")
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["haagent.sim", "--shrink", str(seed)])
    assert main() == 1
    assert capsys.readouterr().err == f"seed {seed} breaks no rule\n"


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_what_once_failed_does_not_fail_again(file: Path) -> None:
    result = play(read(file))

    assert not result.violations, result.explain()
