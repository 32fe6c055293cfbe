"""Values of an app node's file compared with each other, as ``haagent.config.checks`` does."""

from collections.abc import Iterator
from itertools import chain

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.problems import Place, Problem
from haagent.config.rules import host_name, once, one_kind, routed_groups, short_timeouts
from haagent.core.appnode.settings import DEFAULT_CHECK_INTERVAL
from haagent.core.settings import MULTICAST_IPV4

_KINDS: dict[str, frozenset[str]] = {
    "tcp": frozenset(),
    "http": frozenset(),
    "exec": frozenset({"user"}),
}
CHECKS = "services.*.check"


def contradictions(document: Document, node: str) -> Iterator[Problem]:
    """Yield what makes the file unusable on the app node called ``node``."""
    yield from host_name(document, node)
    yield from _agents_or_group(document)
    yield from _repeated_paths(document)
    yield from _agents(document)
    yield from one_kind(document, CHECKS, _KINDS)
    yield from short_timeouts(document, CHECKS, DEFAULT_CHECK_INTERVAL)


def doubts(document: Document) -> Iterator[Problem]:
    """Yield what works, but seldom as meant."""
    yield from routed_groups(document, "and then no agent hears this node")


def _agents_or_group(document: Document) -> Iterator[Problem]:
    for place, path in document.find("heartbeat.paths.*"):
        if isinstance(path, dict) and {"agents", "group"} <= path.keys():
            text = "must be left out where 'agents' are given, heartbeats go to these alone"
            yield document.at_key((*place, "group"), text)


def _repeated_paths(document: Document) -> Iterator[Problem]:
    interfaces = document.select("heartbeat.paths.*.interface", values.interface)
    families = ((place, (name, _family(document, place[:-1]))) for place, name in interfaces)
    return once(document, families)


def _agents(document: Document) -> Iterator[Problem]:
    agents = list(document.select("heartbeat.paths.*.agents.*", addresses.host))
    yield from once(document, ((place, (place[:3], agent)) for place, agent in agents))
    for place, agent in agents:
        if agent.version != _family(document, place[:3]):
            text = "must be of the same IP version as the first agent of the path"
            yield document.wrong_value(place, text)


def _family(document: Document, path: Place) -> int:
    """Return the IP version of the heartbeat path at ``path``: of its first agent or its group."""
    index = path[-1]
    agents = document.select(f"heartbeat.paths.{index}.agents.*", addresses.host)
    group = document.select(f"heartbeat.paths.{index}.group", addresses.multicast_group)
    return next((address.version for _, address in chain(agents, group)), MULTICAST_IPV4.version)
