"""What the doctor tells, in the words of ``haagent.proto``: findings, and what they stand on."""

from haagent.control import haagent_pb2 as pb
from haagent.doctor import facts
from haagent.doctor.examine import examine
from haagent.doctor.facts import Facts

VERSION = 1
"""Rises when a field changes its meaning."""


def report(found: Facts, seconds: float) -> pb.DoctorReply:
    """Return what is wrong by what was ``found`` in ``seconds``."""
    return pb.DoctorReply(
        doctor_version=VERSION,
        node=found.settings.node,
        cluster=found.settings.cluster,
        seconds=seconds,
        findings=[
            pb.Finding(
                severity=finding.severity.name.lower(),
                kind=finding.kind,
                text=finding.text,
                cure=finding.cure,
            )
            for finding in examine(found)
        ],
        paths=map(_path, found.paths),
    )


def _path(path: facts.Path) -> pb.PathVisit:
    return pb.PathVisit(
        interface=path.settings.interface,
        local=None if path.local is None else str(path.local),
        heard=[_voice(voice, path.asked.get(voice.node, facts.Asked())) for voice in path.voices],
        trouble=path.trouble,
    )


def _voice(voice: facts.Voice, asked: facts.Asked) -> pb.Voice:
    return pb.Voice(
        name=voice.name,
        node_id=f"{voice.node:016x}",
        source=str(voice.source),
        to_all=voice.wire.to_all,
        to_us=voice.wire.to_us,
        let_in_to_all=voice.passed.to_all,
        let_in_to_us=voice.passed.to_us,
        asked_all=asked.to_all,
        answered_all=asked.answered_to_all,
        asked_one=asked.to_one,
        answered_one=asked.answered_to_one,
    )
