"""Scenarios as files, faults as text, and clusters from configuration files."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import example, given, settings, strategies as st

from haagent.config import ConfigurationError
from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.configured import configured
from haagent.sim.faults import Fault, Faults, Kind
from haagent.sim.scenario import FORM, parsed, read, written
from haagent.sim.swarm import Scenario, draw, play

CONF = Path(__file__).parents[2] / "conf"
NODES = ["lb1", "lb2", "lb3"]


def told(text: str) -> str:
    """Return what is said of a fault that cannot be taken."""
    try:
        return f"taken as {parsed(text, NODES)}"
    except ValueError as error:
        return str(error)


def refused(directory: Path, text: str) -> list[str]:
    """Return what is said of a file that cannot be taken, without the file's name."""
    file = directory / "scenario.yml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    return [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()]


def test_a_scenario_is_written_as_a_person_would_write_it() -> None:
    faults = (
        Fault(kind=Kind.PAUSE, at=MonoNs(seconds(5)), length=milliseconds(300), targets=("lb1",)),
        Fault(
            kind=Kind.ONE_WAY,
            at=MonoNs(milliseconds(6500)),
            length=seconds(2),
            targets=("lb1", "lb2"),
        ),
        Fault(kind=Kind.LOSS, at=MonoNs(seconds(7)), amount=10),
        Fault(
            kind=Kind.CLOCK,
            at=MonoNs(0),
            length=milliseconds(1),
            targets=("lb2",),
            amount=-seconds(3600),
        ),
    )
    scenario = Scenario(seed=7, agents=2, interval=milliseconds(50), reorders=True, faults=faults)

    assert (
        written(scenario)
        == """\
seed: 7
agents: 2
interval: 50ms
reorders: true
faults:
  - {at: 5s, kind: pause, target: lb1, length: 300ms}
  - {at: 6500ms, kind: one-way, target: [lb1, lb2], length: 2s}
  - {at: 7s, kind: loss, amount: 10%}
  - {at: 0s, kind: clock, target: lb2, length: 1ms, amount: -1h}
"""
    )


def test_what_is_written_of_any_seed_reads_as_the_same_scenario(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yml"
    kinds = set()
    for seed in range(200):
        scenario = draw(seed)
        kinds |= {fault.kind for fault in scenario.faults}
        file.write_text(written(scenario))

        assert read(file) == scenario

    assert kinds == set(Kind)


def test_a_file_plays_as_the_seed_from_which_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yml"
    scenario = draw(7)
    file.write_text(written(scenario))

    assert play(read(file)).digest == play(scenario).digest


def test_every_problem_of_a_file_is_named_at_its_place(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        """\
seed: 7
agents: 2
faults:
  - {at: 5s, kind: pause, target: lb3}
  - {at: 6s, kind: loss, amount: 10}
  - {at: 6s, kind: kill, target: [lb1, lb2]}
""",
    ) == [
        "4:27: faults[0].target: must be of lb1, lb2, master, is lb3",
        "5:26: faults[1].amount: must be a share of the datagrams, 1%..100%, is 10",
        "6:26: faults[2].target: must be one node",
    ]
    (problem,) = refused(tmp_path, "seed: 7\nfaults: [{at: 5s, kind: paus, target: lb1}]\n")
    assert problem.startswith("2:25: faults[0].kind: must be loss, ")
    (problem,) = refused(tmp_path, "seed: 7\nagent: 2\n")
    assert problem == "2:1: agent: unknown key 'agent', did you mean 'agents'?"
    (problem,) = refused(
        tmp_path, f"seed: 7\nties: true\nconfigurations: ['{CONF}/pair-lb1.yml']\n"
    )
    assert problem == "2:1: ties: must not be given beside configurations, which say it"


def test_a_fault_is_told_in_one_line() -> None:
    at = MonoNs(seconds(5))

    assert parsed("5s pause lb1 300ms", NODES) == Fault(
        kind=Kind.PAUSE, at=at, length=milliseconds(300), targets=("lb1",)
    )
    assert parsed("5s power master", NODES) == Fault(kind=Kind.POWER, at=at, targets=("master",))
    assert parsed("5s partition lb1 lb2 3s", NODES) == Fault(
        kind=Kind.PARTITION, at=at, length=seconds(3), targets=("lb1", "lb2")
    )
    assert parsed("5s loss 3s 10%", NODES) == Fault(
        kind=Kind.LOSS, at=at, length=seconds(3), amount=10
    )


@pytest.mark.parametrize("text", ["", "5s", "5s kill lb1 1s 2s 3s"])
def test_a_fault_that_lacks_or_exceeds_the_form_is_told_the_form(text: str) -> None:
    assert told(text) == FORM


def test_a_fault_that_cannot_be_is_told_why() -> None:
    kinds = ", ".join(kind.value for kind in Kind)
    assert told("5s paus lb1").replace(" or ", ", ") == f"kind: must be {kinds}, is 'paus'"
    assert told("soon kill lb1").startswith("at: must be a whole number with a unit")
    assert told("5s kill lb9") == "target: must be of lb1, lb2, lb3, master, is lb9"
    assert told("5s one-way lb1 master 1s") == "target: must be of lb1, lb2, lb3, is master"
    assert told("5s one-way lb1 lb1 1s") == "target: must be two nodes, the sender and the receiver"
    assert told("5s partition lb1 lb2 lb3 1s") == "target: must be the nodes of one side"
    assert told("5s loss lb1 1s 10%") == "target: must not be given, it hurts all alike"
    assert told("5s loss 1s") == "amount: must be given with loss, is missing"
    assert told("5s kill lb1 1s 10%") == "amount: must not be given, kill has none"
    assert told("5s kill lb1 0s") == "length: must be 1ms..24h, is '0s'"


KINDS = st.sampled_from([kind.value for kind in Kind])
TIMES = st.sampled_from(["0s", "5s", "100ms", "3m"])
TARGETS = st.lists(st.sampled_from([*NODES, "master"]), max_size=2)
AMOUNTS = st.sampled_from(["10%", "20ms", "-1h", "9ppm", "7", ""])
LIKELY = st.tuples(TIMES, KINDS, TARGETS.map(" ".join), TIMES, AMOUNTS).map(" ".join)
REASONS = ("at: ", "kind: ", "target: ", "length: ", "amount: ", FORM)


@settings(max_examples=200, deadline=None)
@example("0s kill lb1 5s")
@given(LIKELY | st.lists(LIKELY | st.text(max_size=5), max_size=3).map(" ".join))
def test_any_text_is_refused_with_a_reason_or_is_a_fault_that_can_be_played(text: str) -> None:
    reason = told(text)

    if reason.startswith("taken as "):
        play(Scenario(seed=1, agents=3, faults=(parsed(text, NODES),)))
    else:
        assert reason.startswith(REASONS)


VALUES = KINDS | TIMES | AMOUNTS | st.none() | st.booleans() | st.integers() | st.floats()
FAULTS = st.dictionaries(st.sampled_from(["at", "kind", "target", "length", "amount", "x"]), VALUES)
KEYS = st.sampled_from(["seed", "agents", "interval", "paths", "ties", "configurations", "delays"])


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=2)),
    st.lists(FAULTS | VALUES, max_size=3) | VALUES,
)
def test_any_file_is_refused_with_its_problems(keys: dict[str, object], faults: object) -> None:
    """None of these has all that a scenario needs: one key at least is of a wrong kind."""
    with TemporaryDirectory() as directory:
        text = yaml.safe_dump({**keys, "faults": faults, "seed": "7"})
        assert all(re.match(r"\d+:\d+: ", line) for line in refused(Path(directory), text))


def test_master_is_who_answers_when_the_fault_begins() -> None:
    cluster = Cluster(Scenario(seed=1).settings, seed=1)
    cluster.start()
    faults = Faults(cluster)
    faults.strike(parsed("4s power lb1", NODES))
    faults.strike(parsed("8s power master 1s", NODES))
    cluster.run(milliseconds(8500))

    assert [host.agent is None for host in cluster.hosts] == [True, True, False]
    cluster.run(seconds(1))
    assert [host.agent is None for host in cluster.hosts] == [True, False, False]


def test_one_configuration_makes_a_cluster_that_elects_its_first_agent() -> None:
    settings = configured([CONF / "unicast-lb1.yml"], agents=3)
    cluster = Cluster(settings, seed=1)
    cluster.start()
    cluster.run(seconds(5))

    assert [each.node for each in settings] == NODES
    assert [each.groups[0].priority for each in settings] == [150, 140, 130]
    assert cluster.answering() == ["h1"]
    assert cluster.disagreements() == []


def test_files_of_their_own_rank_their_agents_and_name_their_interfaces(tmp_path: Path) -> None:
    """Two groups, the second of which the second agent has; its cards have other names."""
    other = tmp_path / "lb2.yml"
    text = (CONF / "active-active-lb2.yml").read_text()
    other.write_text(text.replace("eth0", "ens3").replace("eth1", "ens4"))
    settings = configured([CONF / "active-active-lb1.yml", other], agents=2)
    cluster = Cluster(settings, seed=1)
    cluster.start()
    cluster.run(DurationNs(seconds(5) + settings[0].heartbeat.listen))

    assert [cluster.answering(0), cluster.answering(1)] == [["h1"], ["h2"]]


def test_a_file_of_another_cluster_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text((CONF / "pair-lb1.yml").read_text().replace("cluster: shop", "cluster: bank"))

    with pytest.raises(ConfigurationError) as caught:
        configured([CONF / "pair-lb1.yml", other], agents=2)

    assert str(caught.value).splitlines() == [
        f"{other}:1:1: cluster: must be as in the first file, shop, is bank",
        f"{other}:1:1: node: must be different in each file, is lb1 again",
    ]


def test_a_scenario_may_name_configuration_files(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yml"
    file.write_text(
        f"seed: 3\nconfigurations: ['{CONF}/pair-lb1.yml', '{CONF}/pair-lb2.yml']\n"
        "faults: [{at: 6s, kind: power, target: master, length: 2s}]\n"
    )
    scenario = read(file)

    assert scenario.nodes == ["lb1", "lb2"]
    result = play(scenario)
    assert result.violations == ()
    assert result.changes == 3
    assert play(replace(scenario, faults=())).changes == 1
