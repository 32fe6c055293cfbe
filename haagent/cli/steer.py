"""``haagent drain``, ``undrain``, ``pause`` and ``resume``: what the operator wants of one agent.

It holds until the opposite is said, or the time of a drain is over, restarts included.  The
command ends with the handovers of a drain.

Exit codes: 0 it is so, also when it was so before; 1 refused, or still master of a group after a
drain without ``--force``; 2 the file that names the socket cannot be used; 3 no agent answers.
"""

import sys
import time
import uuid
from pathlib import Path

from haagent.cli.control_socket import control_socket
from haagent.control import client, haagent_pb2 as pb

_TIMEOUT_S = 10.0
"""What is wanted is written to the disk first, which takes the longer the busier that is."""

_HANDOVER_S = 3.0
"""A successor that does not get ready is given up after 2 s."""

_NEWS = {"drain": "drained", "undrain": "undrained", "pause": "paused", "resume": "resumed"}
_NO_NEWS = {
    "drain": "already drained",
    "undrain": "was not drained",
    "pause": "already paused",
    "resume": "was not paused",
}


def steer(
    command: str,
    socket: Path | None,
    config: Path | None,
    *,
    force: bool = False,
    length_ms: int | None = None,
) -> None:
    """Have the agent behind ``socket``, or behind the one that ``config`` names, do ``command``.

    ``length_ms``: after so long a drain ends by itself.
    """
    path = control_socket(socket, config)
    try:
        reply = _ask(command, path, force, length_ms)
        held = _held(path) if reply.outcome != "refused" and command == "drain" else []
    except client.AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    if reply.outcome == "refused":
        print(
            *reply.lines,
            f"haagent: {command} refused, nothing has changed",
            sep="\n",
            file=sys.stderr,
        )
        sys.exit(1)
    print(news(command, reply))
    if held:
        text = f"still master of {', '.join(held)} until another agent can take over"
        print(f"haagent: {text}", file=sys.stderr)
        sys.exit(0 if force else 1)


def news(command: str, reply: pb.SteerReply) -> str:
    """Return how it stands after ``command``, which was not refused."""
    text = _NEWS[command] if reply.outcome == "applied" else _NO_NEWS[command]
    return f"{text} until {reply.until}" if command == "drain" and reply.until else text


def length_ms(text: str) -> int:
    """Return how long ``30m`` or ``2h`` is.

    Raises: ValueError, with the reason for people.
    """
    from haagent.config.values import duration  # noqa: PLC0415 - one option needs it
    from haagent.core.units import seconds  # noqa: PLC0415

    return duration(seconds(1), seconds(366 * 24 * 3600))(text) // 1_000_000


def _ask(command: str, socket: Path, force: bool, length_ms: int | None) -> pb.SteerReply:
    """Have it done, for the terms that are seen now.

    Raises: AgentUnreachable.
    """
    where, key = (socket, _TIMEOUT_S), uuid.uuid4().hex
    seen = client.seen(client.fetch_status(*where))
    match command:
        case "drain":
            drain = pb.DrainRequest(seen=seen, id=key, force=force, for_ms=length_ms)
            return client.drain(*where, drain)
        case "undrain":
            return client.undrain(*where, pb.UndrainRequest(seen=seen, id=key))
        case "pause":
            return client.pause(*where, pb.PauseRequest(seen=seen, id=key))
        case _:
            return client.resume(*where, pb.ResumeRequest(seen=seen, id=key))


def _held(socket: Path) -> list[str]:
    """Return the groups that the agent is still master of when no handover is under way."""
    deadline = time.monotonic() + _HANDOVER_S
    held: dict[str, str] = {}
    for reply in client.watch(socket, _TIMEOUT_S):
        states = {group.role.group: group.role.state for group in reply.groups}
        held = {name: state for name, state in states.items() if state in {"master", "resigning"}}
        if "resigning" not in held.values() or time.monotonic() > deadline:
            break
    return [*held]
