"""What app nodes and agents say to each other as bytes (docs/protocol.md, "App nodes").

An agent speaks and listens with an :class:`AgentEnd`, an app node with a :class:`NodeEnd`.
Neither ever raises for what it hears.  Authentication comes before decoding, and each node has
a key of its own: who takes over an app server can speak for that node and for nobody else.

Unlike a datagram between agents, a heartbeat may have crossed a router or a translator of
addresses: neither its hop limit nor the address that it came from means anything (ADR 0021).

What this module does not do: tell a replay from a first arrival (``haagent.core``).
"""

from hmac import compare_digest
from struct import Struct

from haagent.core.identity import BootId, ClusterId, NodeId, cluster_id, node_id
from haagent.core.messages import Discard, DiscardReason, Load, NodeAck, NodeHeartbeat
from haagent.wire import node_profile
from haagent.wire.auth import KEY_ID, MAC_SIZE, derive_node_key, node_mac
from haagent.wire.node_profile import Profile
from haagent.wire.prefix import MAGIC, MAX_SIZE, VERSION, refuse
from haagent.wire.tlv import MalformedError, node

NODE_HB, NODE_ACK = 16, 17
"""Numbers of the two types."""

_HEARTBEAT = Struct("!2sBBHBBIHBBQQQQHHHH")
_ACK = Struct("!2sBBHBBIHBBQQQQHHIQ")
_SENDER = Struct("!16xQ")
_NO_GROUP = 0
_LEAVING = 1
_PERMILLE = 1000
_U16_MAX = 0xFFFF

MOST_KNOWN = 1 << 15
"""Nodes whose key is kept; beyond that it is derived anew for some, in 4 us."""


class NodeEnd:
    """An app node's end: it sends heartbeats and hears answers, with a key for nothing else."""

    def __init__(self, key: bytes, cluster: str, name: str) -> None:
        """``key`` is the node's own, made for ``cluster`` and ``name``."""
        self._key = key
        self._cluster = cluster_id(cluster)
        self._node = node_id(name)

    def encode(self, heartbeat: NodeHeartbeat) -> bytes:
        """Return ``heartbeat`` as it is sent; load beyond its range goes as the greatest.

        Shape: 56 header bytes, fields, 16 bytes of code; at most 1232.
        """
        assert heartbeat.sender == self._node, "a node speaks for itself alone"
        profile = Profile(
            heartbeat.name, heartbeat.node_class, heartbeat.address, heartbeat.services
        )
        fields = node_profile.pack(profile)
        size = _HEARTBEAT.size + len(fields) + MAC_SIZE
        assert size <= MAX_SIZE, f"{size} bytes would be fragmented"
        covered = _pack_heartbeat(heartbeat, self._cluster, size) + fields
        return covered + node_mac(covered, self._key)

    def decode(self, payload: bytes) -> NodeAck | Discard:
        """Return the answer that ``payload`` is, or why it is none to this node."""
        refusal = _refuse(payload, self._cluster, NODE_ACK, _ACK.size + MAC_SIZE)
        if refusal is not None:
            return refusal
        covered, code = payload[:-MAC_SIZE], payload[-MAC_SIZE:]
        if not compare_digest(code, node_mac(covered, self._key)):
            return Discard(DiscardReason.BAD_MAC)
        try:
            ack = _unpack_ack(covered)
        except MalformedError as error:
            return Discard(DiscardReason.MALFORMED, str(error))
        if ack.destination != self._node:
            return Discard(DiscardReason.OTHER_DESTINATION)
        return ack


class AgentEnd:
    """An agent's end: it hears the heartbeats of all nodes, and answers each with its own key."""

    def __init__(self, cluster_key: bytes, cluster: str, most_known: int = MOST_KNOWN) -> None:
        self._most_known = most_known
        self._cluster_key = cluster_key
        self._cluster_name = cluster
        self._cluster = cluster_id(cluster)
        self._known: dict[NodeId, _Known] = {}
        """Nodes that have proved genuine: a forger's inventions take no memory."""

    def decode(self, payload: bytes) -> NodeHeartbeat | Discard:
        """Return the heartbeat that ``payload`` is, or why it is none.

        Equal services are the same object from one heartbeat of a node to the next, and so are
        name, class and address.
        """
        refusal = _refuse(payload, self._cluster, NODE_HB, _HEARTBEAT.size + MAC_SIZE)
        if refusal is not None:
            return refusal
        (sender,) = _SENDER.unpack_from(payload)
        known = self._known.get(sender) or _Known(self._derive(sender))
        covered = payload[:-MAC_SIZE]
        if not compare_digest(payload[-MAC_SIZE:], node_mac(covered, known.key)):
            return Discard(DiscardReason.BAD_MAC)
        self._remember(sender, known)
        try:
            return _unpack_heartbeat(covered, known)
        except MalformedError as error:
            return Discard(DiscardReason.MALFORMED, str(error))

    def encode(self, ack: NodeAck) -> bytes:
        """Return ``ack`` as it is sent to the node that it is for.

        Shape: 64 header bytes, 16 bytes of code.
        """
        known = self._known.get(ack.destination)
        key = known.key if known else self._derive(ack.destination)
        covered = _pack_ack(ack, self._cluster)
        return covered + node_mac(covered, key)

    def _derive(self, sender: NodeId) -> bytes:
        return derive_node_key(self._cluster_key, self._cluster_name, sender)

    def _remember(self, sender: NodeId, known: "_Known") -> None:
        if sender in self._known:
            return
        if len(self._known) >= self._most_known:
            del self._known[next(iter(self._known))]
        self._known[sender] = known


def peek(payload: bytes) -> NodeHeartbeat | NodeAck | Discard:
    """Return what ``payload`` says, whoever wrote it: for a person to see, never to act upon."""
    message = NODE_ACK if payload[3:4] == bytes([NODE_ACK]) else NODE_HB
    least = _ACK.size if message == NODE_ACK else _HEARTBEAT.size
    refusal = _refuse(payload, None, message, least + MAC_SIZE)
    if refusal is not None:
        return refusal
    covered = payload[:-MAC_SIZE]
    try:
        if message == NODE_ACK:
            return _unpack_ack(covered)
        return _unpack_heartbeat(covered, _Known(b""))
    except MalformedError as error:
        return Discard(DiscardReason.MALFORMED, str(error))


class _Known:
    """The key of a node, and what it last said of itself, as bytes and as read."""

    __slots__ = ("fields", "key", "profile")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.fields = b""
        self.profile: Profile | None = None


def _refuse(payload: bytes, cluster: ClusterId | None, message: int, least: int) -> Discard | None:
    refusal = refuse(payload, cluster, least)
    # The type is part of what tells where the key is to be found.
    if refusal is None and payload[3] != message:
        return Discard(DiscardReason.MALFORMED, f"type {payload[3]}")
    return refusal


def _pack_heartbeat(heartbeat: NodeHeartbeat, cluster: ClusterId, size: int) -> bytes:
    assert heartbeat.interval_ms > 0, "the interval is a promise"
    load = heartbeat.load
    return _HEARTBEAT.pack(
        MAGIC,
        VERSION,
        NODE_HB,
        size,
        _LEAVING if heartbeat.leaving else 0,
        KEY_ID,
        cluster,
        _NO_GROUP,
        _HEARTBEAT.size // 4,
        heartbeat.path,
        heartbeat.sender,
        heartbeat.boot,
        heartbeat.sequence,
        heartbeat.nonce,
        heartbeat.interval_ms,
        min(load.cpu_permille, _PERMILLE),
        min(load.memory_permille, _PERMILLE),
        min(load.queue_percent, _U16_MAX),
    )


def _unpack_heartbeat(covered: bytes, known: _Known) -> NodeHeartbeat:
    """Return what authenticated bytes say."""
    (
        _magic, _version, _type, _size, flags, _key_id, _cluster, _group, words, path,
        sender, boot, sequence, nonce, interval_ms, cpu, memory, queue,
    ) = _HEARTBEAT.unpack_from(covered)  # fmt: skip
    # A later minor version may lengthen the header; what it adds is skipped.
    if not _HEARTBEAT.size <= 4 * words <= len(covered):
        detail = f"header of {words} words"
        raise MalformedError(detail)
    if interval_ms == 0 or cpu > _PERMILLE or memory > _PERMILLE:
        detail = f"interval {interval_ms}, load {cpu} and {memory} per mille"
        raise MalformedError(detail)
    name, node_class, address, services = _profile(covered[4 * words :], sender, known)
    return NodeHeartbeat(
        sender=sender,
        boot=BootId(boot),
        sequence=sequence,
        path=path,
        interval_ms=interval_ms,
        nonce=nonce,
        leaving=bool(flags & _LEAVING),
        load=Load(cpu_permille=cpu, memory_permille=memory, queue_percent=queue),
        name=name,
        node_class=node_class,
        address=address,
        services=services,
    )


def _profile(fields: bytes, sender: int, known: _Known) -> Profile:
    """Return what ``fields`` say, which are taken apart only when they have changed."""
    if known.profile is not None and fields == known.fields:
        return known.profile
    profile = node_profile.unpack(fields)
    # The key belongs to the id: who has it must not call himself by another's name.
    if node_id(profile.name) != sender:
        detail = f"id {sender:016x} is not that of {profile.name!r}"
        raise MalformedError(detail)
    known.fields, known.profile = fields, profile
    return profile


def _pack_ack(ack: NodeAck, cluster: ClusterId) -> bytes:
    assert 0 <= ack.jitter_ms < ack.interval_ms, "a heartbeat cannot come before its time"
    return _ACK.pack(
        MAGIC,
        VERSION,
        NODE_ACK,
        _ACK.size + MAC_SIZE,
        0,
        KEY_ID,
        cluster,
        _NO_GROUP,
        _ACK.size // 4,
        0,
        ack.agent,
        ack.boot,
        ack.sequence,
        ack.nonce,
        ack.interval_ms,
        ack.jitter_ms,
        0,
        ack.destination,
    )


def _unpack_ack(covered: bytes) -> NodeAck:
    """Return what authenticated bytes say."""
    (
        *_prefix, words, _path,
        agent, boot, sequence, nonce, interval_ms, jitter_ms, _reserved, destination,
    ) = _ACK.unpack_from(covered)  # fmt: skip
    if not _ACK.size <= 4 * words <= len(covered):
        detail = f"header of {words} words"
        raise MalformedError(detail)
    if nonce == 0 or jitter_ms >= interval_ms:
        detail = f"nonce {nonce}, interval {interval_ms}, jitter {jitter_ms}"
        raise MalformedError(detail)
    return NodeAck(
        destination=node(destination),
        agent=node(agent),
        boot=BootId(boot),
        sequence=sequence,
        nonce=nonce,
        interval_ms=interval_ms,
        jitter_ms=jitter_ms,
    )
