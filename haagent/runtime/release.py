"""Takes away what a dead agent left behind: the addresses that are ours, and nothing else."""

from collections import defaultdict

from haagent.adapters.netlink import Netlink
from haagent.core.settings import AgentSettings, IPAddress, IPInterface


def virtual_addresses(settings: AgentSettings) -> dict[str, frozenset[IPAddress]]:
    """Return the virtual addresses of each interface that a group names."""
    found: dict[str, set[IPAddress]] = defaultdict(set)
    for group in settings.groups:
        found[group.interface] |= {address.ip for address in group.addresses}
    return {interface: frozenset(addresses) for interface, addresses in found.items()}


async def release_leftovers(netlink: Netlink) -> list[tuple[str, IPInterface]]:
    """Remove every address that is ours; return what was removed, with its interface.

    Raises: OSError when the kernel refuses.
    """
    leftovers = await netlink.ours()
    for interface, address in leftovers:
        await netlink.release(interface, address)
    return leftovers
