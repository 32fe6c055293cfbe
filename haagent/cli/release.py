"""``haagent release``: take away what a dead agent left behind."""

import asyncio
import sys
from pathlib import Path

from haagent.adapters.netlink import Netlink
from haagent.adapters.state_file import AlreadyRunning, require_unused
from haagent.cli.configuration import read
from haagent.config import Loaded
from haagent.core.settings import IPInterface
from haagent.runtime.release import release_leftovers, virtual_addresses


def release(config: Path) -> None:
    """Remove the addresses that are ours, and say which; none is fine.

    Exits with 1 when the kernel refuses or the agent is still running, 2 on a bad configuration.
    """
    try:
        removed = asyncio.run(_release(read(config)))
    except (AlreadyRunning, OSError) as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(1)
    for interface, address in removed:
        print(f"removed {address} from {interface}")


async def _release(loaded: Loaded) -> list[tuple[str, IPInterface]]:
    require_unused(loaded.state_dir)
    settings = loaded.settings
    addresses = virtual_addresses(settings)
    netlink = Netlink(addresses, lambda _event: None, settings.heartbeat.interval)
    return await release_leftovers(netlink)
