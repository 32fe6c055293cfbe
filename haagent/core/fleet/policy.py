"""How much of the traffic an app node gets: pure functions from what it says to a weight.

Shares are per mille of the weight that the service has in the node's own file.

What this module does not do: damp what nodes say (``haagent.core.fleet.node``), or make the list of
servers (``haagent.core.fleet.servers``).
"""

import re

from haagent.core.messages import Load
from haagent.core.units import DurationNs, seconds

WHOLE = 1000
LEAST_SHARE = 100
"""Of a node that is wholly busy, and of one that begins: a tenth, so that it is measured still."""

RESIDUE = 50
"""Of a node that is much busier than the least busy one."""

TOLERANCE = 50
SPAN = 200
"""So much busier than the least busy one, per mille, is not busier yet; and from there the share
falls to the residue over so much more."""

MAX_WEIGHT = 256

_NUMBER = re.compile(r"0*([0-9]+)")


def business(load: Load) -> int:
    """Return how busy a host is, 0..1000.

    The processors tell it.  Memory counts when less than a tenth is left, and the queue when
    more waits than can run: on a disk, say, while the processors are idle.
    """
    memory = (load.memory_permille - 900) * 10
    queue = (load.queue_percent - 100) * 5
    return max(0, min(WHOLE, max(load.cpu_permille, memory, queue)))


def weighted(busy: int) -> int:
    """Return the share of a node that is so busy: less, the busier, and never less than a tenth."""
    return max(LEAST_SHARE, WHOLE - busy)


def least_load(busy: int, least: int) -> int:
    """Return the share of a node while the least busy one is busy ``least``.

    Nodes as idle as that one share nearly all; between them and the others there is no edge at
    which traffic would jump to and fro.
    """
    behind = max(0, busy - least - TOLERANCE)
    return max(RESIDUE, WHOLE - behind * (WHOLE - RESIDUE) // SPAN)


def ramp(age: DurationNs, slow_start: DurationNs) -> int:
    """Return the share of a node that has begun ``age`` ago: a tenth at first, growing by steps.

    Unit: whole seconds of both, and a part of one counts as none.
    """
    if age >= slow_start:
        return WHOLE
    second = seconds(1)
    return LEAST_SHARE + (WHOLE - LEAST_SHARE) * (age // second * second) // slow_start


def weight(base: int, share: int) -> int:
    """Return the weight, 1..256, that is ``share`` of ``base``; 0 when either is 0."""
    if base == 0 or share == 0:
        return 0
    return max(1, min(MAX_WEIGHT, (base * share + WHOLE // 2) // WHOLE))


def natural(name: str) -> str:
    """Return the key by which ``app2`` comes before ``app10``: numbers go by their length first."""
    return _NUMBER.sub(lambda found: f"{len(found[1]):02}{found[1]}", name)
