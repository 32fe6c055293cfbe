"""``haagent doctor``: what is wrong between the agents and on this host, why, and what to do.

Exit codes: 0 nothing of severity error, 1 something, 2 the configuration cannot be used.

What this module does not do: look or judge (``haagent.doctor``).
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from haagent.cli.configuration import read
from haagent.doctor import facts
from haagent.doctor.examine import examine
from haagent.doctor.facts import Facts
from haagent.doctor.findings import Finding, Severity
from haagent.doctor.gather import gather, suggested_seconds

VERSION = 1
"""Of the JSON: rises when a field changes its meaning."""


def doctor(config: Path, seconds: float | None, as_json: bool) -> None:
    """Look at everything, for ``seconds`` at the network, and say what is wrong."""
    loaded = read(config)
    length = suggested_seconds(loaded.settings) if seconds is None else seconds
    if not as_json:
        print(f"listening for {length:g} s on every path", file=sys.stderr)
    try:
        found = gather(loaded, length)
    except KeyboardInterrupt:
        sys.exit(130)
    findings = examine(found)
    if as_json:
        print(json.dumps(_values(found, findings, length), indent=2))
    else:
        print(*_lines(found, findings), sep="\n")
    worst = max((finding.severity for finding in findings), default=Severity.NOTICE)
    sys.exit(1 if worst is Severity.ERROR else 0)


def _lines(found: Facts, findings: list[Finding]) -> Iterator[str]:
    for path in found.paths:
        yield f"path {path.settings.interface} {path.local or path.trouble}"
        for voice in path.voices:
            yield f"  {_heard(voice, path)}"
        if path.local is not None and not path.voices:
            yield "  nobody is heard"
    for finding in findings:
        word = finding.severity.name.lower()
        yield f"{word:<7}  {finding.kind}: {finding.text}. To do: {finding.cure}"
    counts = Counter(finding.severity for finding in findings)
    yield ", ".join(_number(counts[severity], severity) for severity in reversed(Severity))


def _number(count: int, severity: Severity) -> str:
    return f"{count or 'no'} {severity.name.lower()}{'' if count == 1 else 's'}"


def _heard(voice: facts.Voice, path: facts.Path) -> str:
    asked = path.asked.get(voice.node, facts.Asked())
    parts = [f"{voice.name} {voice.source}: {voice.wire.to_all} datagrams to all"]
    parts.append(f"{voice.wire.to_us} to this host")
    if asked.to_all:
        parts.append(f"answers {asked.answered_to_all} of {asked.to_all} questions to all")
    if asked.to_one:
        parts.append(f"{asked.answered_to_one} of {asked.to_one} to it alone")
    return ", ".join(parts)


def _values(found: Facts, findings: list[Finding], seconds: float) -> dict[str, object]:
    return {
        "doctor_version": VERSION,
        "node": found.settings.node,
        "cluster": found.settings.cluster,
        "seconds": seconds,
        "findings": [
            {
                "severity": finding.severity.name.lower(),
                "kind": finding.kind,
                "text": finding.text,
                "cure": finding.cure,
            }
            for finding in findings
        ],
        "paths": [_path_values(path) for path in found.paths],
    }


def _path_values(path: facts.Path) -> dict[str, object]:
    none = facts.Asked()
    return {
        "interface": path.settings.interface,
        "local": None if path.local is None else str(path.local),
        "heard": [
            {
                "name": voice.name,
                "node_id": f"{voice.node:016x}",
                "source": str(voice.source),
                "to_all": voice.wire.to_all,
                "to_us": voice.wire.to_us,
                "let_in_to_all": voice.passed.to_all,
                "let_in_to_us": voice.passed.to_us,
                "asked_all": path.asked.get(voice.node, none).to_all,
                "answered_all": path.asked.get(voice.node, none).answered_to_all,
                "asked_one": path.asked.get(voice.node, none).to_one,
                "answered_one": path.asked.get(voice.node, none).answered_to_one,
            }
            for voice in path.voices
        ],
    }
