"""Datagrams between agents as bytes: the wire format 1.0 (docs/protocol.md).

:func:`encode` makes the payload of a UDP datagram, :func:`decode` takes one apart and
never raises.  Authentication comes before decoding: of bytes that nobody vouches for,
only the fixed prefix is read, as far as it takes to find the key.

What this module does not do: tell replays, own and misdirected datagrams from good ones
(``haagent.core``), or send anything.
"""

from hmac import compare_digest
from struct import Struct

from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import BootId, GroupId, Priority, Term
from haagent.core.messages import (
    Datagram,
    Discard,
    DiscardReason,
    Election,
    ElectionKind,
    Flag,
    Header,
    State,
)
from haagent.core.settings import IPAddress
from haagent.wire.auth import KEY_ID, MAC_SIZE, Keyring
from haagent.wire.body import pack, unpack
from haagent.wire.prefix import MAGIC, MAX_SIZE, VERSION, refuse
from haagent.wire.tlv import MalformedError, count, member, node

HOP_LIMIT = 255
"""Only a sender on the same link can deliver this TTL or hop limit (GTSM, RFC 5082 3)."""

_GROUP_AND_PATH = Struct("!12xHxB")
_HEADER = Struct("!2sBBHBBIHBBQQQQQBBBBHHQQ")
_STATE_FLAGS = Flag.UNICAST | Flag.ELECTABLE | Flag.RESTARTING | Flag.PAUSED | Flag.CHOSEN
_KIND_FLAGS = sum(kind.value for kind in ElectionKind)


def encode(datagram: Datagram, keyring: Keyring, source: IPAddress) -> bytes:
    """Return ``datagram`` as it is sent from the address ``source``.

    The kind of an election is said by its body alone; the header must not repeat it.

    Shape: 80 header bytes, the fields of the body, 16 bytes of code; at most 1232.
    """
    header, body = datagram.header, datagram.body
    kind = body.kind.value if isinstance(body, Election) else Flag.NONE
    assert header.flags in _STATE_FLAGS, "the kind of an election is in its body"
    message, fields = pack(body)
    size = _HEADER.size + len(fields) + MAC_SIZE
    assert size <= MAX_SIZE, f"{size} bytes would be fragmented"
    covered = _pack_header(header, keyring, message, int(header.flags) | int(kind), size) + fields
    return covered + keyring.mac(covered, group=header.group, source=source, path=header.path)


def decode(payload: bytes, keyring: Keyring, source: IPAddress, ttl: int) -> Datagram | Discard:
    """Return what ``payload``, received from ``source`` with ``ttl``, says, or why nothing.

    ``ttl`` is the hop limit in IPv6.  Total: no argument of the right types raises.
    """
    refusal = _refuse_prefix(payload, keyring, ttl)
    if refusal is not None:
        return refusal
    group, path = _GROUP_AND_PATH.unpack_from(payload)
    covered, code = payload[:-MAC_SIZE], payload[-MAC_SIZE:]
    if not compare_digest(code, keyring.mac(covered, group=group, source=source, path=path)):
        return Discard(DiscardReason.BAD_MAC)
    try:
        return _unpack(covered)
    except MalformedError as error:
        return Discard(DiscardReason.MALFORMED, str(error))


def peek(payload: bytes) -> Datagram | Discard:
    """Return what ``payload`` says, whoever wrote it: for a person to see, never to act upon.

    Total, as :func:`decode`.
    """
    refusal = refuse(payload, None, _HEADER.size + MAC_SIZE)
    if refusal is not None:
        return refusal
    try:
        return _unpack(payload[:-MAC_SIZE])
    except MalformedError as error:
        return Discard(DiscardReason.MALFORMED, str(error))


def _refuse_prefix(payload: bytes, keyring: Keyring, ttl: int) -> Discard | None:
    """Return why ``payload`` is none of ours, as far as can be told without a key."""
    if ttl != HOP_LIMIT:
        return Discard(DiscardReason.BAD_TTL, f"{ttl} instead of {HOP_LIMIT}")
    refusal = refuse(payload, keyring.cluster, _HEADER.size + MAC_SIZE)
    if refusal is not None:
        return refusal
    group, _ = _GROUP_AND_PATH.unpack_from(payload)
    if group not in keyring:
        return Discard(DiscardReason.UNKNOWN_GROUP, f"group {group}")
    return None


def _pack_header(header: Header, keyring: Keyring, message: int, flags: int, size: int) -> bytes:
    assert header.interval_ms > 0, "the interval is a promise"
    return _HEADER.pack(
        MAGIC,
        VERSION,
        message,
        size,
        flags,
        KEY_ID,
        keyring.cluster,
        header.group,
        _HEADER.size // 4,
        header.path,
        header.sender,
        header.boot,
        header.sequence,
        header.term,
        header.master or 0,
        header.state,
        header.base_priority,
        header.priority,
        header.health,
        header.interval_ms,
        header.timeout_ms,
        header.stamp.hlc.ms << 16 | header.stamp.hlc.counter,
        header.stamp.lamport,
    )


def _unpack(covered: bytes) -> Datagram:
    """Return what authenticated bytes say."""
    (
        _magic, _version, message, _size, flags, _key_id, _cluster, group, words, path,
        sender, boot, sequence, term, master,
        state, base_priority, priority, health, interval_ms, timeout_ms,
        hlc, lamport,
    ) = _HEADER.unpack_from(covered)  # fmt: skip
    # A later minor version may lengthen the header; what it adds is skipped.
    if not _HEADER.size <= 4 * words <= len(covered):
        detail = f"header of {words} words"
        raise MalformedError(detail)
    if interval_ms == 0:
        raise MalformedError("interval 0")
    header = Header(
        sender=node(sender),
        boot=BootId(boot),
        sequence=sequence,
        group=GroupId(group),
        path=path,
        flags=Flag(flags) & _STATE_FLAGS,
        term=Term(count(term, "term")),
        master=node(master) if master else None,
        state=member(State, state, "state"),
        base_priority=Priority(base_priority),
        priority=Priority(priority),
        health=health,
        interval_ms=interval_ms,
        timeout_ms=timeout_ms,
        stamp=Stamp(Hlc(hlc >> 16, hlc & 0xFFFF), count(lamport, "Lamport counter")),
    )
    return Datagram(header, unpack(message, flags & _KIND_FLAGS, covered[4 * words :]))
