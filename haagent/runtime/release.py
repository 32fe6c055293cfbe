"""Takes away what a dead agent left behind: the addresses that are ours, and nothing else."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TypeAlias

from haagent.adapters.netlink import Netlink
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


async def release_leftovers(
    netlink: Netlink, kept: Collection[tuple[str, IPInterface]] = ()
) -> list[tuple[str, IPInterface]]:
    """Remove every address that is ours but those ``kept``; return what was removed.

    Shape: interface and address.
    Raises: OSError when the kernel refuses.
    """
    leftovers = [each for each in await netlink.ours() if each not in kept]
    for interface, address in leftovers:
        await netlink.release(interface, address)
    return leftovers
