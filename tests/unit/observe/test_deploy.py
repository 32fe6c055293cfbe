"""The alert rules, the board and the page, against the metrics that there are."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from haagent.observe.metrics import counter, exposition, gauge
from tests.unit.observe.conftest import FACTS

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy/prometheus/alerts.yml"
BOARD = ROOT / "deploy/grafana/haagent.json"
PAGE = (ROOT / "docs/monitoring.md").read_text()

OF_THE_SERVER = (
    gauge("haagent_http_connections", "Of its server.", ({}, 1)),
    counter("haagent_http_connections_cut", "Of its server.", ({"reason": "slow"}, 1)),
    counter("haagent_http_requests", "Of its server.", ({"path": "/", "code": "200"}, 1)),
)
"""``tests/adapters/test_observer.py`` holds that these are there."""


def exported() -> dict[str, set[str]]:
    """The labels of every metric."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition(FACTS, *OF_THE_SERVER).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """Yield every expression of the rules and of the board."""
    yield from (rule["expr"] for rule in rules())
    board = json.loads(BOARD.read_text())
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
    yield from (each["expr"] for each in board["annotations"]["list"])
    yield from re.findall(r"label_values\((.*)\)", BOARD.read_text())


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:haagent|process)_\w+", expression))


def selectors_in(expression: str) -> list[tuple[str, str, str]]:
    """Each metric, label and value that an expression selects by."""
    found = re.findall(r"\b((?:haagent|process)_\w+)\{([^}]*)\}", expression)
    return [
        (metric, *pair)
        for metric, inside in found
        for pair in re.findall(r'(\w+)=~?"([^"]*)"', inside)
    ]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_metric_of_a_rule_or_panel_is_exported_with_the_labels_it_selects(
    expression: str,
) -> None:
    there = exported()

    assert metrics_in(expression) <= there.keys() or "up{" in expression
    for metric, label, value in selectors_in(expression):
        assert label in there[metric], metric
        if label == "state":
            assert set(value.split("|")) <= states()


def states() -> set[str]:
    families = text_string_to_metric_families(exposition(FACTS).decode())
    states = next(family for family in families if family.name == "haagent_group_state")
    return {sample.labels["state"] for sample in states.samples}


def test_a_metric_that_is_not_exported_is_found() -> None:
    assert metrics_in("rate(haagent_none_total[1m]) > process_x") == {
        "haagent_none_total",
        "process_x",
    }
    assert "haagent_none_total" not in exported()


def test_every_rule_has_a_severity_and_a_summary_and_stands_on_the_page_and_no_other() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}

    assert all(rule["annotations"]["summary"] for rule in rules())
    assert dict(re.findall(r"^\| `(Haagent\w+)` \| (\w+) \|", PAGE, re.MULTILINE)) == severities


def test_every_metric_stands_on_the_page_and_no_other() -> None:
    written = set(re.findall(r"^\| `((?:haagent|process)_\w+)` \|", PAGE, re.MULTILINE))
    parts = ("_bucket", "_count", "_sum")
    names = {name for name in exported() if not name.endswith(parts)}

    assert written == names | {"haagent_loop_lateness_seconds"}


def promtool(*words: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    found = shutil.which("promtool", path=f"{Path(sys.executable).parent}:/usr/bin")
    if found is None:
        pytest.skip("needs promtool, which ./tests/run fetches")
    return subprocess.run(
        [found, *words], cwd=directory, check=False, capture_output=True, text=True
    )


def test_every_rule_does_what_its_example_says() -> None:
    """By Prometheus' own promtool: syntax, and what fires when (alerts_test.yml)."""
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool(*command, directory=RULES.parent)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_of_the_board_is_one(tmp_path: Path) -> None:
    panels = json.loads(BOARD.read_text())["panels"]
    written = [target["expr"] for panel in panels for target in panel["targets"]]
    recorded = [
        {"record": f"r{number}", "expr": expr.replace("$cluster", "shop")}
        for number, expr in enumerate(written)
    ]
    groups = {"groups": [{"name": "board", "rules": recorded}]}
    (tmp_path / "board.yml").write_text(json.dumps(groups))

    done = promtool("check", "rules", "board.yml", directory=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_an_example_in_which_it_fires() -> None:
    tests = yaml.safe_load((RULES.parent / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}

    assert fired == {rule["alert"] for rule in rules()}
