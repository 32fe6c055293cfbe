"""Where the virtual addresses of a configuration are, or may be."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeAlias

from haagent.core.actions import Tenure
from haagent.core.settings import AgentSettings, IPAddress, IPInterface

Place: TypeAlias = tuple[str, IPAddress]
"""An interface, and a virtual address on it."""


def places(settings: AgentSettings) -> frozenset[Place]:
    """Return where virtual addresses are or may be."""
    return frozenset(
        (group.interface, address.ip) for group in settings.groups for address in group.addresses
    )


def by_interface(places: Iterable[Place]) -> dict[str, frozenset[IPAddress]]:
    """Return the virtual addresses of each interface that has any."""
    found: dict[str, set[IPAddress]] = defaultdict(set)
    for interface, address in places:
        found[interface].add(address)
    return {interface: frozenset(addresses) for interface, addresses in found.items()}


def kept_addresses(
    settings: AgentSettings, kept: Iterable[Tenure]
) -> frozenset[tuple[str, IPInterface]]:
    """Return the addresses of the groups that a restarting agent has left to the next process."""
    groups = {tenure.group for tenure in kept}
    return frozenset(
        (group.interface, address)
        for group in settings.groups
        if group.id in groups
        for address in group.addresses
    )
