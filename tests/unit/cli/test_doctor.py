"""``haagent doctor`` as a shell sees it, where it may do next to nothing."""

import json
from pathlib import Path

from tests.unit.cli.test_commands import CONF, haagent


def test_a_file_that_cannot_be_used_is_bad_usage(tmp_path: Path) -> None:
    done = haagent("doctor", "-c", tmp_path / "gone.yml")

    assert (done.returncode, done.stdout) == (2, "")
    assert "gone.yml" in done.stderr


def test_a_length_that_is_none_is_bad_usage() -> None:
    assert haagent("doctor", "-c", CONF / "pair-lb1.yml", "--seconds", "0").returncode == 2


def test_where_nothing_is_set_up_every_finding_has_a_cause_and_a_cure() -> None:
    """No agent, no key, no such interface, no HAProxy, no privilege."""
    done = haagent("doctor", "-c", CONF / "pair-lb1.yml", "--json", "--seconds", "1")

    told = json.loads(done.stdout)
    found = {each["kind"]: each for each in told["findings"]}
    assert done.returncode == 1
    assert (told["doctor_version"], told["node"], told["cluster"]) == (1, "lb1", "shop")
    assert {"agent.down", "haproxy.unreachable", "key.unusable"} <= found.keys()
    assert all(each["text"] and each["cure"] for each in told["findings"])


def test_each_finding_is_one_line() -> None:
    done = haagent("doctor", "-c", CONF / "pair-lb1.yml", "--seconds", "1")

    *lines, last = done.stdout.splitlines()
    findings = [line for line in lines if line.split()[0] in {"error", "warning", "notice"}]
    assert all(". To do: " in line for line in findings)
    assert last.startswith(f"{sum(line.startswith('error') for line in findings)} errors, ")
