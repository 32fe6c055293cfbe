"""To whom an operator can have a group handed over, or why to nobody; from the status alone.

What this module does not do: hand over (``haagent.core.election``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from haagent.core.identity import HEALTHY, NodeId
from haagent.core.messages import State
from haagent.core.status import PeerStatus, RoleStatus, Status


@dataclass(frozen=True, slots=True)
class Successor:
    """Who is to be master."""

    name: str
    node: NodeId


@dataclass(frozen=True, slots=True)
class Already:
    """The agent that is wanted is master."""

    name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is done, in one line."""

    why: str


def successor(status: Status, group: str, to: str, *, force: bool) -> Successor | Already | Refusal:
    """Return who takes ``group`` over: ``to``, or the best one where that is empty.

    ``force``: also one that a check has demoted.
    """
    roles = {each.role.group: each.role for each in status.groups}
    ours = roles.get(group)
    if ours is None:
        return Refusal(f"no group {group!r}, there is {', '.join(roles) or 'none'}")
    if to and to == ours.master and ours.state is not State.RESIGNING:
        return Already(to)
    if ours.state is not State.MASTER:
        return Refusal(_not_ours(status, ours))
    found = [(peer, role) for peer in status.peers for role in peer.roles if role.group == group]
    if to and to not in {peer.name for peer, _ in found}:
        names = ", ".join(peer.name for peer, _ in found) or "nobody"
        return Refusal(f"{to} is no other agent of {group}, but {names}")
    wanted = [(peer, role) for peer, role in found if to in {"", peer.name}]
    least = 0 if force else ours.health
    able = [(peer, role) for peer, role in wanted if not _obstacle(peer, role, least)]
    if not able:
        why = ", ".join(_obstacle(peer, role, least) for peer, role in wanted)
        return Refusal(f"nobody could take over {group}: {why or 'there is no other'}")
    best, _ = max(able, key=lambda each: (each[1].health, each[1].priority, each[0].node))
    return Successor(best.name, best.node)


def stranded(status: Status) -> Iterator[str]:
    """Yield, for each group that we are master of and nobody could take, why nobody could."""
    for group in (each.role.group for each in status.groups if each.role.state.owns_addresses):
        obstacles = [
            _obstacle(peer, role, least_health=0)
            for peer in status.peers
            for role in peer.roles
            if role.group == group
        ]
        if all(obstacles):
            why = ", ".join(obstacles) or "there is no other"
            yield f"no agent could take over {group}: {why}"


def _not_ours(status: Status, ours: RoleStatus) -> str:
    if ours.state is State.RESIGNING:
        return f"a handover of {ours.group} is under way"
    if ours.master is None:
        return f"{status.node} is not master of {ours.group}: it has none"
    return f"{status.node} is not master of {ours.group}: {ours.master} is, ask there"


def _obstacle(peer: PeerStatus, role: RoleStatus, least_health: int) -> str:
    """Return why ``peer``, which is in ``role``, could not take over; empty when it could."""
    if not peer.alive:
        return f"{peer.name} is silent"
    if not role.priority:
        return f"{peer.name}: {role.reason.text}"
    if not peer.hears_us:
        return f"{peer.name} does not hear this agent"
    if role.health < min(least_health, HEALTHY):
        return f"{peer.name} is demoted by a check"
    return ""
