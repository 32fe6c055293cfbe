"""Who may speak: keys of the groups, and the message authentication code of a datagram.

A :class:`Keyring` is made once from the cluster key and the names in the configuration;
``haagent.wire.heartbeat`` asks it for the code of each datagram, sent or received.

What this module does not do: read the key file, or tell a replay from a first arrival;
a code proves who wrote the bytes, not when.
"""

import hmac
from collections.abc import Iterable

from haagent.core.identity import GroupId, NodeId, cluster_id, group_id
from haagent.core.settings import IPAddress

KEY_ID = 1
"""The only key of 1.0.  The algorithm belongs to the key and never travels (no downgrade)."""

MAC_SIZE = 16
"""HMAC-SHA256 truncated to 128 bits; half of the digest is the least that RFC 2104 5 advises."""

_DIGEST_SIZE = 32
_PEER = "peer"
_NODE = "node"
_BUS = "bus"


def hkdf_sha256(key: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """Return ``size`` bytes derived from ``key`` for the use named by ``info``.

    Unit: bytes; ``size`` is at most 8160.
    Source: RFC 5869 2.2 (extract), 2.3 (expand).
    """
    pseudorandom_key = hmac.digest(salt or bytes(_DIGEST_SIZE), key, "sha256")
    blocks = [b""]
    for number in range(1, -(-size // _DIGEST_SIZE) + 1):
        block = hmac.digest(pseudorandom_key, blocks[-1] + info + bytes([number]), "sha256")
        blocks.append(block)
    return b"".join(blocks)[:size]


def derive_key(cluster_key: bytes, cluster: str, group: str, purpose: str) -> bytes:
    """Return the 32-byte key of ``group`` for ``purpose``.

    The names are bound into the key in full, so that clusters and groups whose short ids
    collide still refuse each other.  Each part of the info carries its length: no two
    lists of names give the same bytes.

    Shape of the info: for ``haagent/1``, cluster, group and purpose in turn, its length in
    UTF-8 as u16, then the text.
    Source: RFC 5869, without salt.
    """
    parts = [text.encode() for text in ("haagent/1", cluster, group, purpose)]
    info = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return hkdf_sha256(cluster_key, salt=b"", info=info, size=_DIGEST_SIZE)


def derive_node_key(cluster_key: bytes, cluster: str, node: NodeId) -> bytes:
    """Return the 32-byte key of an app node, which is all that its host has to know.

    It leads neither back to the cluster key nor to the key of another node.

    Source: :func:`derive_key`, with the id of the node in 16 hexadecimal digits for the group.
    """
    return derive_key(cluster_key, cluster, f"{node:016x}", _NODE)


def derive_bus_seed(cluster_key: bytes, cluster: str) -> bytes:
    """Return the 32 bytes that the authority of the peer bus is made from.

    Source: :func:`derive_key`, without a group.
    """
    return derive_key(cluster_key, cluster, "", _BUS)


def node_mac(covered: bytes, key: bytes) -> bytes:
    """Return the code over what an app node says, or what is said to it.

    Shape: 16 bytes.
    Source: RFC 2104 (HMAC), 5 (truncation).
    """
    return hmac.digest(key, covered, "sha256")[:MAC_SIZE]


class Keyring:
    """The keys that one agent speaks and listens with."""

    def __init__(self, cluster_key: bytes, cluster: str, groups: Iterable[str]) -> None:
        """Derive the key of every group in ``groups``, given by name.

        Raises: ValueError when two groups have the same id.
        """
        self.cluster = cluster_id(cluster)
        self._codes: dict[GroupId, hmac.HMAC] = {}
        for group in groups:
            if group_id(group) in self._codes:
                detail = f"group {group!r} has the id of another group: rename one"
                raise ValueError(detail)
            key = derive_key(cluster_key, cluster, group, _PEER)
            self._codes[group_id(group)] = hmac.new(key, digestmod="sha256")

    def __contains__(self, group: GroupId) -> bool:
        return group in self._codes

    def mac(self, covered: bytes, *, group: GroupId, source: IPAddress, path: int) -> bytes:
        """Return the code over ``covered`` and a pseudo-header of where it is sent from.

        ``group`` must be on the ring.

        Shape: 16 bytes, over ``covered``, the 4 or 16 bytes of ``source``, one byte ``path``.
        Source: RFC 2104 (HMAC), 5 (truncation).
        """
        # The key schedule is paid once per group; a copy costs less than half of it.
        code = self._codes[group].copy()
        code.update(covered + source.packed + bytes([path]))
        return code.digest()[:MAC_SIZE]
