"""``haagent simulate`` as an operator uses it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from haagent.cli.simulate import simulate
from haagent.core.election import Election

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
PAIR = CONF / "pair-lb1.yml"


def haagent(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "haagent", "simulate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def answer(*arguments: str | Path) -> dict[str, Any]:
    """Return what the command says as JSON; no rule is broken."""
    done = haagent(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


def at(reply: dict[str, Any], text: str) -> float:
    """Return when ``text`` first happened, in milliseconds."""
    return float(next(each["at_ms"] for each in reply["timeline"] if each["text"] == text))


def test_without_a_fault_masters_die_are_killed_hang_and_lose_their_link() -> None:
    done = haagent(PAIR)
    *timeline, address, changes, verdict = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert timeline[0] == "group web: 192.0.2.100/32; lb1 (150), lb2 (140)"
    faults = re.findall(r"fault (\w+) (begins|ends)", done.stdout)
    kinds = ("power", "kill", "pause", "link")
    assert faults == [(kind, what) for kind in kinds for what in ("begins", "ends")]
    times = [float(line.split()[0]) for line in timeline[3:-1]]
    assert times == sorted(times)
    assert re.fullmatch(
        r"192\.0\.2\.100: answered by nobody for [01]\.\d{3} s, at most 0\.\d{3} s at once, "
        r"by two for 0\.000 s",
        address,
    )
    assert re.fullmatch(r"changes of master: \d, first elections included", changes)
    assert verdict == "no rule was broken"


def test_a_fault_is_followed_by_what_comes_of_it() -> None:
    reply = answer(PAIR, "--fault", "5s power lb1 3s", "--duration", "20s")
    (address,) = reply["addresses"]

    assert at(reply, "fault power begins") == 5000
    assert at(reply, "fault power ends") == 8000
    assert 5100 < at(reply, "answered by lb2") < 5700
    gap = at(reply, "answered by lb2") - at(reply, "answered by nobody")
    assert address["longest_answered_by_nobody_ms"] == pytest.approx(gap, abs=0.01)
    assert gap <= address["answered_by_nobody_ms"] < gap + 2, "and the handover back"
    assert address["answered_by_two_ms"] == 0
    assert (reply["changes_of_master"], reply["broken"]) == (3, [])
    assert reply["end_is_judged"]


def test_two_masters_are_counted_while_a_partition_lasts() -> None:
    reply = answer(PAIR, "--fault", "5s partition lb1 3s")

    (address,) = reply["addresses"]
    both = at(reply, "answered by lb1 and lb2")
    assert address["answered_by_two_ms"] == pytest.approx(8000 - both, abs=300)
    assert address["answered_by_nobody_ms"] < 2


def test_what_lasts_until_the_end_is_not_judged_at_it() -> None:
    forever = answer(PAIR, "--fault", "5s partition lb1")
    assert not forever["end_is_judged"]
    assert answer(PAIR, "--fault", "5s power lb1")["end_is_judged"]
    short = haagent(PAIR, "--fault", "5s power lb1", "--duration", "6s")
    assert "the end is not judged: a fault lasts, or the time is too short" in short.stdout


def test_the_seed_decides_about_delays() -> None:
    first, again, other = (haagent(PAIR, "--seed", seed).stdout for seed in ("1", "1", "2"))

    assert first == again != other


def test_agents_without_a_file_rank_below_and_others_have_their_own() -> None:
    assert answer(PAIR, "--agents", "4", "--duration", "6s")["nodes"] == [
        "lb1",
        "lb2",
        "lb3",
        "lb4",
    ]
    reply = answer(
        CONF / "active-active-lb1.yml", "--peer", CONF / "active-active-lb2.yml", "--agents", "3"
    )
    first: dict[str, str] = {}
    for each in reply["timeline"]:
        if each["text"].startswith("answered by lb"):
            first.setdefault(each["who"], each["text"])
    assert first["192.0.2.100"] == "answered by lb1"
    assert first["192.0.2.101"] == "answered by lb2"


def test_a_scenario_has_its_own_cluster() -> None:
    file = ROOT / "tests/sim/scenarios/meeting_of_two_masters.yml"
    reply = answer("--scenario", file, "--fault", "9s loss 1s 10%")

    assert reply["nodes"] == ["lb1", "lb2"]
    assert at(reply, "fault partition begins") == 8000
    assert at(reply, "fault loss begins") == 9000
    both = haagent(PAIR, "--scenario", file)
    assert both.returncode == 2
    assert "a scenario has its cluster" in both.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fault", "5s paus lb1"), r"--fault '5s paus lb1': kind: must be loss, .*, is 'paus'"),
        (("--fault", "5s"), r"--fault '5s': must be 'AT KIND .*"),
        (("--fault", "5s kill lb3"), r"--fault '5s kill lb3': target: must be of lb1, lb2, .*"),
        (("--duration", "soon"), r"--duration: must be a whole number with a unit, .*, is soon"),
        (("--peer", str(PAIR)), r".*node: must be different in each file, is lb1 again"),
        (
            ("--peer", str(CONF / "pair-lb2.yml"), "--peer", str(PAIR), "--agents", "2"),
            r"--agents must be 3 or more, there are so many files",
        ),
        (("--scenario", "/nowhere.yml"), r"(?s)Usage: .*a scenario has its cluster.*"),
    ],
)
def test_what_cannot_be_played_is_refused_with_its_reason(
    arguments: tuple[str, ...], said: str
) -> None:
    done = haagent(PAIR, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(said, done.stderr.removeprefix("haagent: ").strip()), done.stderr


def test_a_bad_file_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yml"
    file.write_text("seed: 1\nagents: 9\nfaults: [{at: 5s, kind: kill}]\n")
    done = haagent("--scenario", file)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{file}:2:9: agents: must be 1..5, is 9\n"


def test_a_broken_rule_is_told_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted bug: a master that meets a better one does not step down."""
    monkeypatch.setattr(Election, "_step_down", lambda *_: [])
    with pytest.raises(SystemExit) as caught:
        simulate(
            [PAIR],
            scenario_file=None,
            faults=["5s partition lb1 3s"],
            agents=None,
            seed=None,
            length=None,
            as_json=False,
        )

    assert caught.value.code == 1
    assert "broken: masters of web: ['lb1', 'lb2']" in capsys.readouterr().out
