"""``haagent simulate``: play faults against the cluster that a configuration file describes.

The agents are those of ``haagent run``; the machines and the network around them are simulated
(``haagent.sim``), so nothing of this machine is touched, and a minute takes about a second.

Exit codes: 0 no rule was broken, 1 one was, 2 bad usage, configuration or scenario.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from haagent.config import ConfigurationError
from haagent.config.values import duration
from haagent.core.units import DurationNs, milliseconds, seconds
from haagent.sim.configured import configured
from haagent.sim.faults import Fault
from haagent.sim.rehearsal import Rehearsal, needed, rehearse, typical_faults
from haagent.sim.scenario import parsed, read
from haagent.sim.swarm import Scenario

_LEAST_AGENTS = 2
_DEFAULT_SEED = 1

_length = duration(milliseconds(1), seconds(24 * 3600))


def simulate(
    files: Sequence[Path],
    *,
    scenario_file: Path | None,
    faults: Sequence[str],
    agents: int | None,
    seed: int | None,
    length: str | None,
    as_json: bool,
) -> None:
    """Play the scenario in a file, or faults against the agents of configuration files."""
    try:
        scenario = _scenario(files, scenario_file, agents)
        scenario = replace(scenario, seed=scenario.seed if seed is None else seed)
        scenario = replace(scenario, faults=(*scenario.faults, *_faults(faults, scenario)))
        if not scenario.faults and scenario_file is None:
            scenario = replace(scenario, faults=typical_faults(scenario.settings))
        time = needed(scenario) if length is None else _duration(length)
    except (ConfigurationError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    rehearsal = rehearse(scenario, time)
    if as_json:
        print(json.dumps(_plain(scenario, time, rehearsal), indent=2))
    else:
        print("\n".join(_lines(scenario, time, rehearsal)))
    sys.exit(1 if rehearsal.violations else 0)


def _scenario(files: Sequence[Path], scenario_file: Path | None, agents: int | None) -> Scenario:
    if scenario_file is not None:
        return read(scenario_file)
    if agents is not None and agents < len(files):
        text = f"haagent: --agents must be {len(files)} or more, there are so many files"
        raise ValueError(text)
    settings = configured(files, agents or max(len(files), _LEAST_AGENTS))
    return Scenario(seed=_DEFAULT_SEED, configured=settings)


def _faults(texts: Sequence[str], scenario: Scenario) -> Iterator[Fault]:
    for text in texts:
        try:
            yield parsed(text, scenario.nodes)
        except ValueError as error:
            trouble = f"haagent: --fault '{text}': {error}"
            raise ValueError(trouble) from None


def _duration(text: str) -> DurationNs:
    try:
        return _length(text)
    except ValueError as error:
        trouble = f"haagent: --duration: {error}, is {text}"
        raise ValueError(trouble) from None


def _lines(scenario: Scenario, time: DurationNs, rehearsal: Rehearsal) -> Iterator[str]:
    settings = scenario.settings
    for group in settings[0].groups:
        ranks = [
            f"{each.node} ({own.priority})"
            for each in settings
            for own in each.groups
            if own.name == group.name
        ]
        yield f"group {group.name}: {', '.join(map(str, group.addresses))}; {', '.join(ranks)}"
    yield f"seed {scenario.seed}, {_s(time)} s\n"
    width = max(len(happening.who) for happening in rehearsal.story)
    for happening in rehearsal.story:
        yield f"{_s(happening.at):>10}  {happening.who:<{width}}  {happening.text}"
    yield ""
    for service in rehearsal.services:
        longest = f", at most {_s(service.longest_by_nobody)} s at once"
        nobody = f"by nobody for {_s(service.by_nobody)} s{longest if service.by_nobody else ''}"
        yield f"{service.address}: answered {nobody}, by two for {_s(service.by_several)} s"
    yield f"changes of master: {rehearsal.changes}, first elections included"
    if not rehearsal.judged:
        yield "the end is not judged: a fault lasts, or the time is too short"
    for violation in rehearsal.violations:
        yield f"broken: {violation}"
    if not rehearsal.violations:
        yield "no rule was broken"


def _s(length: int) -> str:
    return f"{length / 1e9:.3f}"


def _ms(length: int) -> float:
    return round(length / 1e6, 3)


def _plain(scenario: Scenario, time: DurationNs, rehearsal: Rehearsal) -> dict[str, Any]:
    return {
        "seed": scenario.seed,
        "duration_ms": _ms(time),
        "nodes": scenario.nodes,
        "timeline": [
            {"at_ms": _ms(each.at), "who": each.who, "text": each.text} for each in rehearsal.story
        ],
        "addresses": [
            {
                "address": str(each.address),
                "answered_by_nobody_ms": _ms(each.by_nobody),
                "longest_answered_by_nobody_ms": _ms(each.longest_by_nobody),
                "answered_by_two_ms": _ms(each.by_several),
            }
            for each in rehearsal.services
        ],
        "changes_of_master": rehearsal.changes,
        "end_is_judged": rehearsal.judged,
        "broken": list(rehearsal.violations),
    }
