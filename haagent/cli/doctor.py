"""``haagent doctor``: what is wrong between the agents and on this host, why, and what to do.

Who may not listen himself, but open the agent's socket, has the agent look.

Exit codes: 0 nothing of severity error, 1 something, 2 the configuration cannot be used.

What this module does not do: look or judge (``haagent.doctor``).
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from haagent.cli.configuration import read
from haagent.config import Loaded
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, examine
from haagent.control.plain import as_json as in_json
from haagent.doctor.gather import gather, suggested_seconds
from haagent.doctor.report import report

_MORE_S = 40.0
"""How much longer than it listens the agent may take."""

_CAP_NET_RAW = 13

_SEVERITIES = ("error", "warning", "notice")


def doctor(config: Path, seconds: float | None, as_json: bool) -> None:
    """Look at everything, for ``seconds`` at the network, and say what is wrong."""
    loaded = read(config)
    length = suggested_seconds(loaded.settings) if seconds is None else seconds
    if not as_json:
        print(f"listening for {length:g} s on every path", file=sys.stderr)
    try:
        reply = None if _may_listen() else _by_the_agent(loaded, length)
        reply = reply or report(gather(loaded, length), length)
    except KeyboardInterrupt:
        sys.exit(130)
    if as_json:
        print(in_json(reply))
    else:
        print(*_lines(reply), sep="\n")
    sys.exit(1 if any(each.severity == "error" for each in reply.findings) else 0)


def _may_listen() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    held = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> _CAP_NET_RAW & 1)


def _by_the_agent(loaded: Loaded, seconds: float) -> pb.DoctorReply | None:
    """Return what the agent finds; None when it does not look, of which stderr tells."""
    try:
        reply = examine(loaded.control_socket, _MORE_S, seconds)
    except AgentUnreachable as error:
        trouble = str(error)
    else:
        trouble = reply.trouble
    if not trouble:
        return reply
    print(f"haagent: the agent has not looked: {trouble}", file=sys.stderr)
    return None


def _lines(reply: pb.DoctorReply) -> Iterator[str]:
    for path in reply.paths:
        yield f"path {path.interface} {path.local or path.trouble}"
        for voice in path.heard:
            yield f"  {_heard(voice)}"
        if path.local and not path.heard:
            yield "  nobody is heard"
    for finding in reply.findings:
        yield f"{finding.severity:<7}  {finding.kind}: {finding.text}. To do: {finding.cure}"
    counts = Counter(finding.severity for finding in reply.findings)
    yield ", ".join(_number(counts[severity], severity) for severity in _SEVERITIES)


def _number(count: int, severity: str) -> str:
    return f"{count or 'no'} {severity}{'' if count == 1 else 's'}"


def _heard(voice: pb.Voice) -> str:
    parts = [f"{voice.name} {voice.source}: {voice.to_all} datagrams to all"]
    parts.append(f"{voice.to_us} to this host")
    if voice.asked_all:
        parts.append(f"answers {voice.answered_all} of {voice.asked_all} questions to all")
    if voice.asked_one:
        parts.append(f"{voice.answered_one} of {voice.asked_one} to it alone")
    return ", ".join(parts)
