"""Rules that the file of an agent and the file of an app node have in common."""

import socket
from collections.abc import Hashable, Iterable, Iterator

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.problems import Place, Problem, dotted
from haagent.core.settings import IPAddress


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
