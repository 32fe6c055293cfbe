"""The first 16 bytes, which every datagram of haagent has alike.

:func:`refuse` tells what needs no key to be told: all that is read of bytes which nobody
vouches for, besides what it takes to find the key.

What this module does not do: know of keys, codes and messages.
"""

from struct import Struct

from haagent.core.identity import ClusterId
from haagent.core.messages import Discard, DiscardReason
from haagent.wire.auth import KEY_ID

MAX_SIZE = 1232
"""A payload this long passes every IPv6 link in one piece: 1280 - 40 - 8 (RFC 8200 5)."""

MAGIC = b"HA"
VERSION = 0x10
"""Major in the upper four bits, minor in the lower."""

_PREFIX = Struct("!2sBxHxBI")
"""Magic, version, total length, key id, cluster."""
_MAJOR = VERSION >> 4


def refuse(payload: bytes, cluster: ClusterId | None, least: int) -> Discard | None:
    """Return why ``payload`` is none of ours, as far as can be told without a key.

    ``cluster``: ours; None takes any.
    Unit: ``least`` is the length in bytes of the shortest datagram that can be one.
    """
    if not least <= len(payload) <= MAX_SIZE:
        return Discard(DiscardReason.MALFORMED, f"{len(payload)} bytes")
    magic, version, size, key_id, theirs = _PREFIX.unpack_from(payload)
    if magic != MAGIC:
        return Discard(DiscardReason.MALFORMED, "not a datagram of haagent")
    if version >> 4 != _MAJOR:
        return Discard(DiscardReason.MALFORMED, f"version {version >> 4}.{version & 15}")
    if size != len(payload):
        return Discard(DiscardReason.MALFORMED, f"{len(payload)} bytes, says {size}")
    if cluster is not None and theirs != cluster:
        return Discard(DiscardReason.OTHER_CLUSTER, f"{theirs:08x}")
    if key_id != KEY_ID:
        return Discard(DiscardReason.UNKNOWN_KEY, f"key {key_id}")
    return None
