"""Takes away what a dead agent left behind: the addresses that are ours, and nothing else."""

from collections.abc import Collection

from haagent.adapters.netlink import Netlink
from haagent.core.settings import IPInterface


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
