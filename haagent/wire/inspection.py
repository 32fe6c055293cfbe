"""What a datagram says and whether its sender proved it, for people who look at the network.

An agent discards what is not proven and reads no more of it.  Here everything is read, also what
anybody may have made up: :attr:`Inspected.proof` says how much it is worth.

What this module does not do: act upon anything.  Nothing of the daemon uses it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest
from struct import Struct
from typing import TypeAlias

from haagent.core.identity import NodeId
from haagent.core.messages import Datagram, Discard, DiscardReason, NodeAck, NodeHeartbeat
from haagent.core.settings import IPAddress
from haagent.wire import heartbeat, node
from haagent.wire.auth import MAC_SIZE, Keyring, derive_node_key, node_mac

_NAMES = Struct("!8xIHxB")
"""Cluster, group and path."""
_SENDER = Struct("!16xQ")
_DESTINATION = Struct("!56xQ")
"""Of an answer to an app node: whose key it has."""

Said: TypeAlias = Datagram | NodeHeartbeat | NodeAck


class Proof(Enum):
    """Whether somebody with the key wrote it."""

    OK = "ok"
    BAD_MAC = "BAD MAC"
    """By another key, or another name of cluster or group, or changed on the way."""
    UNVERIFIED = "unverified"
    """There is no key here to tell with: anybody may have written it."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """One datagram, looked at."""

    said: Said | None
    """None when it cannot be read."""
    proof: Proof
    trouble: Discard | None
    """Why a receiver would discard it, besides a wrong code."""


class Inspector:
    """See the module docstring."""

    def __init__(self, cluster_key: bytes | None, cluster: str, groups: Iterable[str]) -> None:
        """Verify with ``cluster_key`` what is of ``cluster`` and ``groups``; with None nothing.

        Raises: ValueError when two groups have the same id.
        """
        self._cluster_key = cluster_key
        self._cluster = cluster
        self._ring = Keyring(cluster_key or b"", cluster, groups)

    def inspect(self, payload: bytes, source: IPAddress, ttl: int) -> Inspected:
        """Return what ``payload`` says.  Total: no bytes raise."""
        of_node = payload[3:4] in (bytes([node.NODE_HB]), bytes([node.NODE_ACK]))
        said = node.peek(payload) if of_node else heartbeat.peek(payload)
        proof = self._node_proof(payload) if of_node else self._proof(payload, source)
        if isinstance(said, Discard):
            return Inspected(None, proof, said)
        trouble = None
        if not of_node and ttl != heartbeat.HOP_LIMIT:
            text = f"{ttl} instead of {heartbeat.HOP_LIMIT}"
            trouble = Discard(DiscardReason.BAD_TTL, text)
        return Inspected(said, proof, self._stranger(payload, of_node=of_node) or trouble)

    def _stranger(self, payload: bytes, *, of_node: bool) -> Discard | None:
        """Return why it is none of ours, where we know what is ours."""
        if self._cluster_key is None:
            return None
        cluster, group, _ = _NAMES.unpack_from(payload)
        if cluster != self._ring.cluster:
            return Discard(DiscardReason.OTHER_CLUSTER, f"{cluster:08x}")
        if not of_node and group not in self._ring:
            return Discard(DiscardReason.UNKNOWN_GROUP, f"group {group}")
        return None

    def _proof(self, payload: bytes, source: IPAddress) -> Proof:
        if self._cluster_key is None or len(payload) < _NAMES.size + MAC_SIZE:
            return Proof.UNVERIFIED
        cluster, group, path = _NAMES.unpack_from(payload)
        if cluster != self._ring.cluster or group not in self._ring:
            return Proof.UNVERIFIED
        code = self._ring.mac(payload[:-MAC_SIZE], group=group, source=source, path=path)
        return Proof.OK if compare_digest(code, payload[-MAC_SIZE:]) else Proof.BAD_MAC

    def _node_proof(self, payload: bytes) -> Proof:
        owner = _DESTINATION if payload[3] == node.NODE_ACK else _SENDER
        if self._cluster_key is None or len(payload) < owner.size + MAC_SIZE:
            return Proof.UNVERIFIED
        if _NAMES.unpack_from(payload)[0] != self._ring.cluster:
            return Proof.UNVERIFIED
        (whose,) = owner.unpack_from(payload)
        key = derive_node_key(self._cluster_key, self._cluster, NodeId(whose))
        code = node_mac(payload[:-MAC_SIZE], key)
        return Proof.OK if compare_digest(code, payload[-MAC_SIZE:]) else Proof.BAD_MAC
