"""From a scenario that fails to the smallest one that still does.

What is tried, the greatest gain first: to leave out faults, many at once (delta debugging, Zeller
and Hildebrandt 2002), and agents; options back to their defaults; shorter faults; round times.

What this module does not do: ask that the violation stays the same.  A smaller scenario that
breaks another rule is as good a find.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, replace
from traceback import format_exception_only
from typing import Any

from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.faults import MASTER, Fault, targets_of
from haagent.sim.swarm import Scenario, play

_LENGTHS = [milliseconds(factor * power) for power in (10, 100, 1000) for factor in (1, 2, 5)]
_ROUND = [seconds(1), milliseconds(100), milliseconds(10)]
_KEPT = {"seed", "agents", "configured", "faults"}
"""What has no simpler value by itself."""


def failures(scenario: Scenario) -> tuple[str, ...]:
    """Return the rules that ``scenario`` breaks, or the exception that ends it."""
    try:
        return play(scenario).violations
    except Exception as error:  # A core that raises breaks its contract, and is a find like others.
        return ("".join(format_exception_only(error)).strip(),)


def shrink(
    scenario: Scenario, failures: Callable[[Scenario], Collection[str]] = failures
) -> Scenario:
    """Return the smallest scenario found that has ``failures``, as ``scenario`` has."""
    tried = {scenario}
    while True:
        for simpler in _simpler(scenario):
            if simpler not in tried:
                tried.add(simpler)
                if failures(simpler):
                    scenario = simpler
                    break
        else:
            return scenario


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios that are simpler by one step each; none leads back to an earlier one."""
    for faults in _fewer(scenario.faults):
        yield replace(scenario, faults=faults)
    if not scenario.configured:
        yield from _smaller(scenario)
    for field in fields(scenario):
        if field.name not in _KEPT and getattr(scenario, field.name) != field.default:
            plain: dict[str, Any] = {field.name: field.default}
            yield replace(scenario, **plain)
    for position, fault in enumerate(scenario.faults):
        for simpler in _milder(fault):
            faults = (*scenario.faults[:position], simpler, *scenario.faults[position + 1 :])
            yield replace(scenario, faults=faults)


def _fewer(faults: tuple[Fault, ...]) -> Iterator[tuple[Fault, ...]]:
    size = len(faults)
    while size:
        for start in range(0, len(faults), size):
            yield faults[:start] + faults[start + size :]
        size //= 2


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield clusters of fewer agents, the last of which has the faults of those that are gone."""
    for count in range(2, scenario.agents):
        left = scenario.nodes[:count]
        faults = (replace(fault, targets=_moved(fault, left)) for fault in scenario.faults)
        possible = (each for each in faults if len(each.targets) in targets_of(each.kind, count))
        yield replace(scenario, agents=count, faults=tuple(possible))


def _moved(fault: Fault, nodes: list[str]) -> tuple[str, ...]:
    moved = (node if node in (*nodes, MASTER) else nodes[-1] for node in fault.targets)
    return tuple(dict.fromkeys(moved))


def _milder(fault: Fault) -> Iterator[Fault]:
    for length in _LENGTHS:
        if fault.length is None or length < fault.length:
            yield replace(fault, length=length)
    if fault.length is not None:
        for unit in _ROUND:
            length = DurationNs(fault.length // unit * unit)
            if 0 < length < fault.length:
                yield replace(fault, length=length)
    for unit in _ROUND:
        at = MonoNs(fault.at // unit * unit)
        if at < fault.at:
            yield replace(fault, at=at)
