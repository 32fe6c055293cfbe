"""The agents of a simulated cluster as configuration files have them.

All files name one cluster with the same groups and as many paths.  The paths are joined in their
order, whatever the interfaces are called; who sends by unicast does so to the simulated hosts.

What this module does not do: read a file (``haagent.config``).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from haagent.config import ConfigurationError, Problem, load
from haagent.core.identity import Priority
from haagent.core.settings import AgentSettings, PathSettings
from haagent.sim.host import address_on

LESS = 10
"""How much less the priority of each further agent is that has no file of its own."""


def configured(files: Sequence[Path], agents: int) -> tuple[AgentSettings, ...]:
    """Return the settings of ``agents`` agents; those beyond ``files`` have the first file.

    They are called lb2 and so on, and rank below each other.

    Raises: ConfigurationError when a file is wrong, or does not belong to the first.
    """
    given = [load(file).settings for file in files]
    first = given[0]
    taken = [settings.node for settings in given]
    problems = [
        Problem(str(file), 1, 1, (), text)
        for position, file in enumerate(files)
        for text in _strange(given[position], first, taken[:position])
    ]
    if problems:
        raise ConfigurationError(tuple(problems))
    names = (name for name in map("lb{}".format, count(2)) if name not in taken)
    while len(given) < agents:
        given.append(_lesser(first, next(names), LESS * len(given)))
    return tuple(_joined(first, settings, index, agents) for index, settings in enumerate(given))


def _strange(own: AgentSettings, first: AgentSettings, taken: Sequence[str]) -> list[str]:
    """Return what keeps ``own`` out of the cluster of ``first`` and of the nodes ``taken``."""
    both = (first, own)
    shared: dict[str, list[object]] = {
        "cluster": [each.cluster for each in both],
        "heartbeat.port": [each.heartbeat.port for each in both],
        "heartbeat.paths": [f"{len(each.heartbeat.paths)} paths" for each in both],
        "groups": [", ".join(sorted(group.name for group in each.groups)) for each in both],
    }
    found = [
        f"{key}: must be as in the first file, {wanted}, is {given}"
        for key, [wanted, given] in shared.items()
        if wanted != given
    ]
    if own.node in taken:
        found.append(f"node: must be different in each file, is {own.node} again")
    return found


def _lesser(first: AgentSettings, node: str, less: int) -> AgentSettings:
    groups = tuple(
        replace(group, priority=Priority(max(1, group.priority - less))) for group in first.groups
    )
    return replace(first, node=node, groups=groups)


def _joined(first: AgentSettings, own: AgentSettings, index: int, agents: int) -> AgentSettings:
    """Return ``own`` with the interfaces of ``first`` and the peers of the simulation."""
    groups = {group.name: group for group in own.groups}
    # Over IPv4 and IPv6 of one interface runs one simulated path.
    pairs = zip(first.heartbeat.paths, own.heartbeat.paths, strict=True)
    joined = {theirs.interface: _path(theirs, mine, index, agents) for theirs, mine in pairs}
    return replace(
        own,
        heartbeat=replace(own.heartbeat, paths=tuple(joined.values())),
        groups=tuple(
            replace(groups[group.name], interface=group.interface) for group in first.groups
        ),
    )


def _path(first: PathSettings, own: PathSettings, index: int, agents: int) -> PathSettings:
    hosts = [host for host in range(agents) if host != index]
    peers = tuple(address_on(first.interface, host) for host in hosts) if own.peers else ()
    return replace(own, interface=first.interface, peers=peers)
