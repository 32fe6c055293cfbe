"""``haagent release``: take away what a dead agent left behind."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from haagent.adapters import clock, tenure_file
from haagent.adapters.fence import Fence
from haagent.adapters.netlink import Netlink
from haagent.adapters.state_file import AlreadyRunning, require_unused
from haagent.config import ConfigurationError, load
from haagent.core.settings import IPAddress, IPInterface
from haagent.core.units import seconds
from haagent.runtime.places import by_interface, kept_addresses, places
from haagent.runtime.release import release_leftovers


def release(config: Path) -> None:
    """Remove the addresses that are ours, and say which; none is fine.

    With a configuration that cannot be used those are removed that carry our tag: a file that
    was broken while the agent ran must not keep its addresses alive when it dies.  Those that a
    restarting agent has left to its next process stay, for the 3 s that this may take.

    Exits with 1 when the kernel refuses or the agent is still running, 2 on a bad configuration.
    """
    addresses: Mapping[str, frozenset[IPAddress]] = {}
    kept: frozenset[tuple[str, IPInterface]] = frozenset()
    problems = None
    try:
        try:
            loaded = load(config)
            require_unused(loaded.state_dir)
            addresses = by_interface(places(loaded.settings))
            tenures = tenure_file.read(loaded.state_dir, loaded.digest, clock.now().mono)
            kept = kept_addresses(loaded.settings, tenures)
        except ConfigurationError as error:
            problems = error
        asyncio.run(_release(addresses, kept))
    except (AlreadyRunning, OSError) as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(1)
    if problems is not None:
        print(problems, file=sys.stderr)
        sys.exit(2)


async def _release(
    addresses: Mapping[str, frozenset[IPAddress]], kept: frozenset[tuple[str, IPInterface]]
) -> None:
    netlink = Netlink(addresses, lambda _event: None, seconds(1))
    for interface, address in await release_leftovers(netlink, kept):
        print(f"removed {address} from {interface}")
    if kept:
        print("kept the addresses of an agent that restarts")
        return
    # Last: until then a dead agent's guard keeps its addresses silent.
    Fence(addresses).remove()
