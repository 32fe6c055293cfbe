"""What an operator can have done at this moment, and what will happen then, in words."""

from collections.abc import Iterator
from dataclasses import dataclass

from haagent.cli.status import agents_in, is_demoted, masters
from haagent.cli.status_screen import duration
from haagent.control import haagent_pb2 as pb


@dataclass(frozen=True, slots=True)
class Move:
    """A group that the answering agent could hand over to another one."""

    group: str
    to: str
    line: str

    def text(self, reply: pb.StatusReply) -> str:
        """Return what will happen."""
        role = next(each for each in reply.groups if each.role.group == self.group)
        addresses = ", ".join(each.address for each in role.addresses)
        return (
            f"Group {self.group} goes from {reply.node} to {self.to}, as planned: {reply.node}"
            f" releases\n{addresses}\nthen {self.to} takes over, and keeps it until it fails or"
            " another failover.\n\nIf it cannot take over now, nothing changes."
        )


def moves(reply: pb.StatusReply) -> list[Move]:
    """Return what can be asked of the answering agent, the best of each group first."""
    return [
        move
        for group in reply.groups
        if group.role.state == "master"
        for move in _moves(group.role.group, reply)
    ]


def _moves(group: str, reply: pb.StatusReply) -> Iterator[Move]:
    others = [each for each in agents_in(group, reply) if each[0] != reply.node]
    others.sort(key=lambda each: (each[2] is None, each[1].health, each[1].priority), reverse=True)
    for name, role, silence_ms in others:
        line = f"{group}: from {reply.node} to {name}  ({_standing(role, silence_ms)})"
        yield Move(group, name, line)


def _standing(role: pb.Role, silence_ms: int | None) -> str:
    if silence_ms is not None:
        return f"silent for {duration(silence_ms)}"
    demoted = ", demoted by a check" if is_demoted(role) else ""
    return f"{role.state}, priority {role.priority}{demoted}"


def why_no_move(reply: pb.StatusReply) -> str:
    """Return why there is nothing to choose from."""
    lines = [
        f"{name}: the master is {' and '.join(masters(name, reply)) or 'nobody'}"
        for name in (group.role.group for group in reply.groups)
    ]
    return "\n".join(
        [
            f"{reply.node} is master of no group that another agent has.",
            *lines,
            "A failover is asked of the master: run haagent top there.",
        ]
    )


def drain_text(reply: pb.StatusReply) -> str:
    """Return what a drain of the answering agent will do."""
    held = [each.role.group for each in reply.groups if each.role.state == "master"]
    if not held:
        first = f"{reply.node} is master of no group: no address moves."
    else:
        names = ", ".join(held)
        first = f"{reply.node} hands {names} over, as planned, to the best other agent."
    return (
        f"{first}\nIt is kept out of being master until undrain, restarts included."
        "\n\nIf nobody could take over, nothing changes."
    )


def undrain_text(reply: pb.StatusReply) -> str:
    """Return what the end of a drain will do."""
    return (
        f"{reply.node} takes part again.  Where it outranks the master, and its file lets it"
        "\npreempt, it takes the group back by a planned handover."
    )
