"""Who is who: nodes, boots, groups, terms and ballots, and what ranks above what.

Node and group ids are the first bits of the SHA-256 of their names, so that every
agent derives the id of a peer from the name in its own file (ADR 0002).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, NewType

NodeId = NewType("NodeId", int)
"""u64, never 0: on the wire 0 means "nobody"."""

GroupId = NewType("GroupId", int)
"""u16."""

ClusterId = NewType("ClusterId", int)
"""u32."""

BootId = NewType("BootId", int)
"""u64: the persisted boot counter in the upper half, chance in the lower; order and uniqueness."""

Priority = NewType("Priority", int)
"""0 not electable, 1..254 ordinary; higher wins."""

Term = NewType("Term", int)
"""u64: number of a mastership, and the fencing token of every side effect under it."""

NOT_ELECTABLE = Priority(0)

HEALTHY = 100
"""The health of an agent of which no check demands that it rank lower; 0 is not electable."""

NO_TERM = Term(0)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Ballot:
    """One candidacy, unique for ever: no answer to an old one can count for a new one."""

    node: NodeId
    boot: BootId
    number: int
    """u32, counts the masterships and candidacies of this boot in its group."""


class Rank(NamedTuple):
    """Compared field by field; the higher rank is the better master.

    Health comes first: a priority says who is preferred of those that are equally well.
    Source: the bully election (Garcia-Molina 1982); ties fall as in VRRP, by identity.
    """

    health: int
    priority: Priority
    node: NodeId


def is_name(text: str) -> bool:
    """Return whether ``text`` can name a node, cluster, group, class of nodes or service.

    It fits into a path, an environment variable and a command of HAProxy without quotes.
    """
    return _NAME.fullmatch(text) is not None


def node_id(name: str) -> NodeId:
    """Return the id of the node called ``name``."""
    return NodeId(_leading_bits(name, size=8) or 1)


def group_id(name: str) -> GroupId:
    """Return the id of the group called ``name``."""
    return GroupId(_leading_bits(name, size=2))


def cluster_id(name: str) -> ClusterId:
    """Return the id of the cluster called ``name``."""
    return ClusterId(_leading_bits(name, size=4))


def boot_id(counter: int, chance: int) -> BootId:
    """Return the boot id of the ``counter``-th start; ``chance`` is 32 random bits."""
    return BootId((counter & 0xFFFF_FFFF) << 32 | chance & 0xFFFF_FFFF)


@lru_cache(maxsize=1024)
def _leading_bits(name: str, size: int) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:size], "big")
