"""What an operator wants of an agent, at a moment: a drain may have an end of its own.

What this module does not do: keep it on the disk (``haagent.adapters.state_file``), or act on
it (``agent``, ``election``).
"""

from dataclasses import replace
from datetime import UTC, datetime

from haagent.core.events import Steered
from haagent.core.units import WallNs


def in_force(steered: Steered, wall: WallNs) -> Steered:
    """Return what is left of ``steered`` at ``wall``: of a drain whose end has passed nothing."""
    if not steered.maintenance or (steered.until is not None and steered.until <= wall):
        return replace(steered, maintenance=False, until=None)
    return steered


def shown(until: WallNs, wall: WallNs) -> str:
    """Return ``until`` for people: the time, and the day where that is not the one of ``wall``."""
    end, now = (datetime.fromtimestamp(each // 1_000_000_000, UTC) for each in (until, wall))
    return f"{end:%H:%M:%S} UTC" if end.date() == now.date() else f"{end:%Y-%m-%d %H:%M:%S} UTC"
