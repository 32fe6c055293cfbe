"""The body of a datagram as bytes: the number of its type, and its fields.

:func:`pack` and :func:`unpack` are each other's inverse.  ``haagent.wire.heartbeat`` puts
the header before and the code behind.

What this module does not do: judge whether a message makes sense to an election.
"""

import re
from enum import IntEnum
from struct import Struct
from typing import assert_never

from haagent.core.identity import Ballot, BootId, NodeId, Term
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Election,
    ElectionKind,
    Goodbye,
    Heard,
    Heartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResult,
    Resign,
    ResignPhase,
    RoleReason,
)
from haagent.wire.tlv import Fields, MalformedError, Tlv, count, field, member, node


class Type(IntEnum):
    """Number of a message (protocol.md 4.3); those left out here come later."""

    HEARTBEAT = 1
    PROBE = 2
    PROBE_ACK = 3
    PROBE_REQUEST = 4
    PROBE_RESULT = 5
    ELECTION = 6
    ANSWER = 7
    COORDINATOR = 8
    RESIGN = 9
    GOODBYE = 10


_U64 = Struct("!Q")
_HEARD = Struct("!QIIHH")
_CFG = Struct("!QQ")
_BALLOT = Struct("!QQI")
_OBJECT = Struct("!HHIQ")
_RESIGN = Struct("!HHQ")
_GOODBYE = Struct("!HH")
_ROLE = Struct("!HHI")

_BY_UNICAST_ONLY = 1
_U32_MAX = 0xFFFF_FFFF
_NAME_MAX = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def pack(body: Body) -> tuple[Type, bytes]:
    """Return the type of ``body`` and its fields, a multiple of 4 bytes long.

    The kind of an :class:`Election` is not among them: the flags of the header carry it.
    Ages and remaining times beyond a u32 are sent as its greatest value.
    """
    match body:
        case Heartbeat():
            return Type.HEARTBEAT, _pack_heartbeat(body)
        case Probe():
            return Type.PROBE, _destination(body.destination) + _nonce(body.nonce)
        case ProbeAck():
            return Type.PROBE_ACK, _destination(body.destination) + _nonce(body.nonce)
        case ProbeRequest():
            target = field(Tlv.TARGET, _U64.pack(body.target))
            return Type.PROBE_REQUEST, _destination(body.destination) + target
        case ProbeResult():
            return Type.PROBE_RESULT, _destination(body.destination) + _heard(body.heard)
        case Election():
            proposed = field(Tlv.PROPOSED, _U64.pack(body.proposed_term))
            return Type.ELECTION, _ballot(body.ballot) + proposed
        case Answer():
            return Type.ANSWER, _pack_answer(body)
        case Coordinator():
            return Type.COORDINATOR, _ballot(body.ballot)
        case Resign():
            step = field(Tlv.RESIGN, _RESIGN.pack(body.phase, 0, body.successor))
            return Type.RESIGN, _ballot(body.ballot) + step
        case Goodbye():
            return Type.GOODBYE, field(Tlv.GOODBYE, _GOODBYE.pack(body.reason, 0))
        case _:
            assert_never(body)


def unpack(type_number: int, kind_flags: int, data: bytes) -> Body:
    """Return the body that :func:`pack` made ``data`` of.

    ``kind_flags`` are PRE, VOTE and TRANSFER of the header; only an election has any.

    Raises: MalformedError for anything that breaks a rule of docs/protocol.md.
    """
    message = member(Type, type_number, "type")
    if kind_flags and message is not Type.ELECTION:
        detail = f"election flags on {message.name}"
        raise MalformedError(detail)
    fields = Fields(data)
    match message:
        case Type.HEARTBEAT:
            return _unpack_heartbeat(fields)
        case Type.PROBE:
            return Probe(destination=_read_destination(fields), nonce=_read_nonce(fields))
        case Type.PROBE_ACK:
            return ProbeAck(destination=_read_destination(fields), nonce=_read_nonce(fields))
        case Type.PROBE_REQUEST:
            (target,) = fields.read(Tlv.TARGET, _U64)
            return ProbeRequest(destination=_read_destination(fields), target=node(target))
        case Type.PROBE_RESULT:
            return ProbeResult(destination=_read_destination(fields), heard=_read_heard(fields))
        case Type.ELECTION:
            return _unpack_election(kind_flags, fields)
        case Type.ANSWER:
            return _unpack_answer(fields)
        case Type.COORDINATOR:
            return Coordinator(ballot=_read_ballot(fields))
        case Type.RESIGN:
            return _unpack_resign(fields)
        case Type.GOODBYE:
            reason, _ = fields.read(Tlv.GOODBYE, _GOODBYE)
            return Goodbye(reason=member(RoleReason, reason, "reason"))
        case _:
            assert_never(message)


def _pack_heartbeat(body: Heartbeat) -> bytes:
    name = body.name.encode()
    assert _is_name(name), f"not a name of a node: {body.name!r}"
    role = _ROLE.pack(body.reason, 0, min(body.role_age_ms, _U32_MAX))
    return (
        field(Tlv.NAME, name)
        + field(Tlv.ROLE, role)
        + field(Tlv.CFG, _CFG.pack(body.config_hash, 0))
        + _heard(body.heard)
    )


def _heard(entries: tuple[Heard, ...]) -> bytes:
    packed = (
        _HEARD.pack(
            entry.node,
            entry.sequence_low,
            min(entry.age_us, _U32_MAX),
            _BY_UNICAST_ONLY if entry.by_unicast_only else 0,
            0,
        )
        for entry in entries
    )
    return field(Tlv.HEARD, b"".join(packed))


def _pack_answer(body: Answer) -> bytes:
    grant = _destination(body.destination) + _ballot(body.ballot)
    if body.objection is None:
        return grant
    veto = body.objection
    remaining_ms = min(veto.remaining_ms, _U32_MAX)
    return grant + field(Tlv.OBJECT, _OBJECT.pack(veto.code, 0, remaining_ms, veto.term))


def _destination(destination: NodeId) -> bytes:
    return field(Tlv.DST, _U64.pack(destination))


def _nonce(nonce: int) -> bytes:
    return field(Tlv.NONCE, _U64.pack(nonce))


def _ballot(ballot: Ballot) -> bytes:
    return field(Tlv.BALLOT, _BALLOT.pack(ballot.node, ballot.boot, ballot.number))


def _unpack_heartbeat(fields: Fields) -> Heartbeat:
    reason, _, role_age_ms = fields.read(Tlv.ROLE, _ROLE)
    config_hash, _ = fields.read(Tlv.CFG, _CFG)
    return Heartbeat(
        name=_read_name(fields),
        reason=member(RoleReason, reason, "reason"),
        role_age_ms=role_age_ms,
        heard=_read_heard(fields),
        config_hash=config_hash,
    )


def _unpack_election(kind_flags: int, fields: Fields) -> Election:
    (proposed_term,) = fields.read(Tlv.PROPOSED, _U64)
    return Election(
        kind=member(ElectionKind, kind_flags, "election flags"),
        ballot=_read_ballot(fields),
        proposed_term=Term(count(proposed_term, "proposed term")),
    )


def _unpack_answer(fields: Fields) -> Answer:
    return Answer(
        destination=_read_destination(fields),
        ballot=_read_ballot(fields),
        objection=_read_objection(fields) if Tlv.OBJECT in fields else None,
    )


def _unpack_resign(fields: Fields) -> Resign:
    phase, _, successor = fields.read(Tlv.RESIGN, _RESIGN)
    return Resign(
        phase=member(ResignPhase, phase, "phase"),
        ballot=_read_ballot(fields),
        successor=node(successor),
    )


def _read_objection(fields: Fields) -> Objection:
    code, _, remaining_ms, term = fields.read(Tlv.OBJECT, _OBJECT)
    return Objection(
        code=member(ObjectionCode, code, "objection"),
        remaining_ms=remaining_ms,
        term=Term(count(term, "term")),
    )


def _read_heard(fields: Fields) -> tuple[Heard, ...]:
    value = fields.value(Tlv.HEARD)
    if len(value) % _HEARD.size:
        detail = f"HEARD of {len(value)} bytes"
        raise MalformedError(detail)
    return tuple(
        Heard(
            node=node(heard),
            sequence_low=sequence_low,
            age_us=age_us,
            by_unicast_only=bool(flags & _BY_UNICAST_ONLY),
        )
        for heard, sequence_low, age_us, flags, _ in _HEARD.iter_unpack(value)
    )


def _read_ballot(fields: Fields) -> Ballot:
    candidate, boot, number = fields.read(Tlv.BALLOT, _BALLOT)
    return Ballot(node(candidate), BootId(boot), number)


def _read_destination(fields: Fields) -> NodeId:
    (destination,) = fields.read(Tlv.DST, _U64)
    return node(destination)


def _read_nonce(fields: Fields) -> int:
    nonce: int
    (nonce,) = fields.read(Tlv.NONCE, _U64)
    return nonce


def _read_name(fields: Fields) -> str:
    value = fields.value(Tlv.NAME)
    if not _is_name(value):
        raise MalformedError("NAME is not 1 to 64 bytes of UTF-8 without control characters")
    return value.decode()


def _is_name(value: bytes) -> bool:
    try:
        return 1 <= len(value) <= _NAME_MAX and not _CONTROL.search(value.decode())
    except UnicodeDecodeError:
        return False
