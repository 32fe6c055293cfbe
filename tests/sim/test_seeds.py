"""Random clusters under random faults: safe all the time, of one mind once all is calm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.sim.swarm import simulate

SEEDS = 300
LINES = (Path(__file__).parent / "regressions.txt").read_text().splitlines()
REGRESSIONS = [int(line.split()[0]) for line in LINES if line and not line.startswith("#")]


@pytest.mark.parametrize("seed", [*range(SEEDS), *(s for s in REGRESSIONS if s >= SEEDS)])
def test_agents_are_safe_under_faults_and_agree_once_they_are_over(seed: int) -> None:
    result = simulate(seed)

    assert not result.violations, result.explain()


def test_the_same_seed_gives_the_same_trace() -> None:
    assert simulate(7).digest == simulate(7).digest


def test_another_seed_gives_another_trace() -> None:
    assert simulate(7).digest != simulate(8).digest


def test_the_trace_does_not_depend_on_the_order_of_hashes() -> None:
    """Which another process would have in another order: sets of names, say."""
    program = "from haagent.sim.swarm import simulate; print(simulate(7).digest)"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": root}
    other = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert other.stdout.strip() == simulate(7).digest
