"""What an agent leaves to the next process at a planned restart: its masterships, in a file.

It holds for one configuration, on one boot of the machine, until the fences close.  Whoever
starts takes the file away, so that it counts once.

What this module does not do: keep the fences open (``haagent.adapters.systemd``), or judge
whether the peers will wait (``haagent.core.restart``).
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from haagent.core.actions import Tenure
from haagent.core.identity import GroupId, Term
from haagent.core.units import MonoNs

_NAME = "restart.json"
_MACHINE_BOOT = Path("/proc/sys/kernel/random/boot_id")


def write(directory: Path, configuration: str, tenures: Iterable[Tenure]) -> None:
    """Leave ``tenures`` to the next process; ``configuration`` is the digest of its file.

    Raises: OSError.
    """
    content = {
        "machine_boot": _machine_boot(),
        "configuration": configuration,
        "tenures": [[each.group, each.term, each.until, each.chosen] for each in tenures],
    }
    # No fsync: what a power cut could lose means nothing after it.
    new = directory / f"{_NAME}.new"
    new.write_text(json.dumps(content))
    new.replace(directory / _NAME)


def take(directory: Path, configuration: str, now: MonoNs) -> list[Tenure]:
    """Return what the last process has left to us, which is nothing after any other end."""
    tenures = read(directory, configuration, now)
    # Where it cannot be taken away it counts until its end, as any other.
    with suppress(OSError):
        (directory / _NAME).unlink()
    return tenures


def read(directory: Path, configuration: str, now: MonoNs) -> list[Tenure]:
    """Return the tenures that still last; a file that means nothing here and now has none."""
    try:
        content = json.loads((directory / _NAME).read_bytes())
        if (content["machine_boot"], content["configuration"]) != (_machine_boot(), configuration):
            return []
        tenures = [
            Tenure(
                group=GroupId(int(group)),
                term=Term(int(term)),
                until=MonoNs(int(until)),
                chosen=None if chosen is None else int(chosen),
            )
            for group, term, until, chosen in content["tenures"]
        ]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return []
    return [tenure for tenure in tenures if now < tenure.until]


def _machine_boot() -> str:
    return _MACHINE_BOOT.read_text(encoding="ascii").strip()
