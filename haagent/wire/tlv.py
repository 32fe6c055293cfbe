"""Fields of a message as type, length, value: laying them out, and reading them back.

:func:`field` makes one; :class:`Fields` takes a run of them apart; :func:`member`,
:func:`node` and :func:`count` check the numbers inside.  Numbers and lengths stand in
docs/protocol.md.

What this module does not do: know which fields a message needs (``haagent.wire.body``).
"""

from enum import Enum, IntEnum
from struct import Struct
from typing import Any, TypeVar

from haagent.core.identity import NodeId

_Member = TypeVar("_Member", bound=Enum)


class MalformedError(ValueError):
    """The bytes are not of the wire format; caught where decoding begins."""


class Tlv(IntEnum):
    """Number of a field (protocol.md 4.3); those left out here come later."""

    HEARD = 1
    CFG = 4
    NONCE = 6
    BALLOT = 7
    OBJECT = 8
    DST = 10
    SVC = 15
    NAME = 16
    PROPOSED = 17
    RESIGN = 18
    GOODBYE = 19
    ROLE = 20
    TARGET = 21
    CLASS = 22
    ADDRESS = 23


GREATEST_COUNT = (1 << 63) - 1
"""A term or Lamport counter above half of its range is no count but garbage.  Every agent
counts on from the highest that it hears: one such datagram would bring all to the end."""

_KNOWN = {int(number): number for number in Tlv}
_PREFIX = Struct("!HH")
_CRITICAL = 0x8000
"""Set on a field that must not be skipped by a reader that does not know it."""


def field(number: Tlv, value: bytes) -> bytes:
    """Return ``value`` with its prefix, padded with zeros to a multiple of 4 bytes."""
    return _PREFIX.pack(number, len(value)) + value + bytes(-len(value) % 4)


class Fields:
    """The fields of one message, by number; those of a later version are left out."""

    def __init__(self, data: bytes) -> None:
        """Take ``data`` apart.

        Raises: MalformedError for a field that is cut short, padded with anything but
        zeros, there twice, or critical and unknown.
        """
        self._values: dict[Tlv, bytes] = {}
        seen: set[int] = set()
        start = 0
        while start < len(data):
            number, value, start = _next_field(data, start)
            plain = number & ~_CRITICAL
            if plain in seen:
                detail = f"field {plain} twice"
                raise MalformedError(detail)
            seen.add(plain)
            if plain in _KNOWN:
                self._values[_KNOWN[plain]] = value
            elif number & _CRITICAL:
                detail = f"unknown critical field {plain}"
                raise MalformedError(detail)

    def __contains__(self, number: Tlv) -> bool:
        return number in self._values

    def value(self, number: Tlv) -> bytes:
        """Return the bytes of a mandatory field, without padding."""
        if number not in self._values:
            detail = f"{number.name} is missing"
            raise MalformedError(detail)
        return self._values[number]

    def read(self, number: Tlv, layout: Struct) -> tuple[Any, ...]:
        """Return the numbers in a mandatory field that has exactly this layout."""
        value = self.value(number)
        if len(value) != layout.size:
            detail = f"{number.name} of {len(value)} bytes instead of {layout.size}"
            raise MalformedError(detail)
        return layout.unpack(value)


def member(kind: type[_Member], number: int, what: str) -> _Member:
    """Return the member of ``kind`` that ``number`` stands for.

    One that this version does not know is an error, not a default: a state or a reason
    that we guessed would be acted upon.
    """
    try:
        return kind(number)
    except ValueError:
        detail = f"unknown {what} {number}"
        raise MalformedError(detail) from None


def node(number: int) -> NodeId:
    """Return ``number`` as the id of a node; 0 is nobody, and an error."""
    if number == 0:
        raise MalformedError("node id 0")
    return NodeId(number)


def count(number: int, what: str) -> int:
    """Return ``number`` when it can have been counted up to."""
    if number > GREATEST_COUNT:
        detail = f"{what} {number}"
        raise MalformedError(detail)
    return number


def _next_field(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Return number and value of the field at ``start``, and where the next one begins."""
    begin = start + _PREFIX.size
    if begin > len(data):
        raise MalformedError("field prefix cut short")
    number, size = _PREFIX.unpack_from(data, start)
    end = begin + size
    padded = end + -size % 4
    if padded > len(data):
        detail = f"field {number & ~_CRITICAL} reaches past the end"
        raise MalformedError(detail)
    if any(data[end:padded]):
        detail = f"padding of field {number & ~_CRITICAL} is not zero"
        raise MalformedError(detail)
    return number, data[begin:end], padded
