"""Rules that the file of an agent and the file of an app node have in common."""

import socket
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import chain

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.model import CHECK_INTERVALS, CHECK_TIMEOUTS
from haagent.config.problems import Place, Problem, dotted
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs


def node_name(document: Document) -> str:
    """Return the name of this server: the file's, or else the host's."""
    written = document.select("node", values.text)
    return next((name for _, name in written), socket.gethostname())


def absent_interfaces(document: Document, *patterns: str) -> Iterator[Problem]:
    """Yield a problem for each interface at ``patterns`` that this machine has not."""
    present = {name for _, name in socket.if_nameindex()}
    for pattern in patterns:
        for place, name in document.select(pattern, values.interface):
            if name not in present:
                yield document.at_value(place, f"there is no interface {name!r} here now")


def host_name(document: Document, node: str) -> Iterator[Problem]:
    """Yield what is wrong with ``node`` where it is the host name, for the file has none."""
    if any(document.find("node")):
        return
    try:
        values.name(node)
    except ValueError as error:
        yield document.at_key(("node",), f"{error}, is the host name {node!r}")
    if node == "localhost":
        yield document.at_key(("node",), "must be given, the host name is 'localhost'")


def routed_groups(document: Document, consequence: str) -> Iterator[Problem]:
    """Yield a doubt for each multicast group that some switch will drop; then ``consequence``."""
    for place, group in document.select("heartbeat.paths.*.group", addresses.multicast_group):
        if not _is_link_scope(group):
            text = (
                f"{group} is not link-local: a switch that snoops IGMP or MLD drops it where "
                f"no querier runs, {consequence}"
            )
            yield document.at_value(place, text)


def one_kind(
    document: Document, pattern: str, kinds: Mapping[str, frozenset[str]]
) -> Iterator[Problem]:
    """Yield the checks at ``pattern`` that are of no kind or of several, or have a strange key.

    Args: by kind, the keys that have a meaning with it alone.
    """
    of_kinds = frozenset(chain.from_iterable(kinds.values()))
    for place, check in document.find(pattern):
        keys = list(check) if isinstance(check, dict) else []
        given = [key for key in keys if key in kinds]
        if isinstance(check, dict) and not given:
            *most, last = kinds
            yield document.at_key(place, f"must have one of {', '.join(most)} and {last}")
        for other in given[1:]:
            text = f"must be the only kind of check, {given[0]!r} is given as well"
            yield document.at_key((*place, other), text)
        wanted = frozenset[str]().union(*(kinds[key] for key in given))
        for key in keys:
            if given and key in of_kinds - wanted:
                needed = " or ".join(repr(kind) for kind in kinds if key in kinds[kind])
                text = f"must be left out without {needed}, has no effect"
                yield document.at_key((*place, key), text)


def short_timeouts(document: Document, pattern: str, interval: DurationNs) -> Iterator[Problem]:
    """Yield the checks at ``pattern`` that may take as long as their interval, or the default."""
    written = document.select(f"{pattern}.interval", CHECK_INTERVALS)
    intervals = {place[:-1]: length for place, length in written}
    for place, timeout in document.select(f"{pattern}.timeout", CHECK_TIMEOUTS):
        most = intervals.get(place[:-1], interval)
        if timeout >= most:
            text = f"must be less than the interval, {values.shown(most)}"
            yield document.wrong_value(place, text)


def once(document: Document, items: Iterable[tuple[Place, Hashable]]) -> Iterator[Problem]:
    """Yield a problem for each item that was there before; ``items`` are places and values."""
    for place, first in repeated(items):
        text = f"must be given once, is already {dotted(first)} in line {document.line(first)}"
        yield document.at_value(place, text)


def repeated(items: Iterable[tuple[Place, Hashable]]) -> Iterator[tuple[Place, Place]]:
    """Yield the place of each item that was there before, and where it was first."""
    first: dict[Hashable, Place] = {}
    for place, item in items:
        if item in first:
            yield place, first[item]
        first.setdefault(item, place)


def _is_link_scope(group: IPAddress) -> bool:
    """Return whether routers and snooping switches treat ``group`` as local to the link.

    Source: RFC 4541 2.1.2 (224.0.0.0/24), RFC 4291 2.7 (scope 2).
    """
    if group.version == 4:
        return group.packed[:3] == b"\xe0\x00\x00"
    return group.packed[1] & 0x0F == 2
