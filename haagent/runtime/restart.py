"""A planned restart: whether the next process can go on with the addresses, and what it needs.

What this module does not do: ask the peers to wait (``haagent.core.restart``).
"""

from pathlib import Path

from haagent.adapters.fence import Fence
from haagent.adapters.systemd import Systemd
from haagent.config import ConfigurationError, KeyFileError, Loaded, load, read_key
from haagent.core.units import DurationNs

FENCE_NAME = "haagent-fence"
"""Of the descriptor that the service manager keeps over the restart."""


def prepare(
    *,
    config: Path,
    loaded: Loaded,
    cluster_key: bytes,
    start_time: DurationNs,
    fence: Fence,
    systemd: Systemd,
) -> str:
    """Make ready that the next process goes on; waits for the disk and the manager.

    ``start_time``: how long this process took to start; the next one will take about as long.
    Returns: why the addresses have to be handed over instead; empty when they can stay.
    """
    try:
        if load(config).digest != loaded.digest:
            return f"{config} has changed"
        if read_key(loaded.key_file) != cluster_key:
            return f"{loaded.key_file} has changed"
        patience_ms = loaded.settings.heartbeat.restart_lease // 1_000_000
        if (start_ms := start_time // 1_000_000) > patience_ms // 2:
            return f"a start takes {start_ms} ms here, and peers wait for {patience_ms} ms"
        fence.give(lambda descriptor: systemd.keep(descriptor, FENCE_NAME))
    except (ConfigurationError, KeyFileError) as error:
        return str(error)
    except OSError as error:
        return str(error.strerror or error)
    return ""
