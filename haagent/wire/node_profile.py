"""What an app node says of itself that seldom changes, as fields of its heartbeat.

:func:`pack` and :func:`unpack` are each other's inverse.  ``haagent.wire.node`` keeps what was
read of each node, so that the same bytes are not taken apart once a second.

What this module does not do: judge a service or a class.
"""

from ipaddress import ip_address
from struct import Struct
from typing import NamedTuple

from haagent.core.identity import is_name
from haagent.core.messages import Service
from haagent.core.settings import IPAddress
from haagent.wire.tlv import Fields, MalformedError, Tlv, field

_SERVICE = Struct("!HHBB")
"""Port, weight, flags, length of the name; the name follows."""
_HEALTHY = 1
_MOST_WEIGHT = 256


class Profile(NamedTuple):
    """As :class:`haagent.core.messages.NodeHeartbeat` has them."""

    name: str
    node_class: str
    address: IPAddress
    services: tuple[Service, ...]


def pack(profile: Profile) -> bytes:
    """Return ``profile`` as fields, a multiple of 4 bytes long."""
    name, node_class, address, services = profile
    assert is_name(name), f"not a name of a node: {name!r}"
    assert is_name(node_class), f"not a name of a class: {node_class!r}"
    assert _is_host(address), f"not the address of a host: {address}"
    return (
        field(Tlv.NAME, name.encode())
        + field(Tlv.CLASS, node_class.encode())
        + field(Tlv.ADDRESS, address.packed)
        + field(Tlv.SVC, b"".join(map(_pack_service, services)))
    )


def unpack(data: bytes) -> Profile:
    """Return what :func:`pack` made ``data`` of.

    Raises: MalformedError for anything that breaks a rule of docs/protocol.md.
    """
    fields = Fields(data)
    return Profile(
        name=_name(fields.value(Tlv.NAME), "NAME"),
        node_class=_name(fields.value(Tlv.CLASS), "CLASS"),
        address=_address(fields.value(Tlv.ADDRESS)),
        services=_services(fields.value(Tlv.SVC)),
    )


def _pack_service(service: Service) -> bytes:
    assert is_name(service.name), f"not a name of a service: {service.name!r}"
    name = service.name.encode()
    flags = _HEALTHY if service.healthy else 0
    return _SERVICE.pack(service.port, service.weight, flags, len(name)) + name


def _services(value: bytes) -> tuple[Service, ...]:
    services: dict[str, Service] = {}
    start = 0
    while start < len(value):
        begin = start + _SERVICE.size
        if begin > len(value):
            raise MalformedError("service cut short")
        port, weight, flags, size = _SERVICE.unpack_from(value, start)
        start = begin + size
        if start > len(value):
            raise MalformedError("service cut short")
        name = _name(value[begin:start], "name of a service")
        if port == 0 or weight > _MOST_WEIGHT or name in services:
            detail = f"service {name} twice, with port 0, or with a weight above {_MOST_WEIGHT}"
            raise MalformedError(detail)
        healthy = bool(flags & _HEALTHY)
        services[name] = Service(name=name, port=port, weight=weight, healthy=healthy)
    return tuple(services.values())


def _name(value: bytes, what: str) -> str:
    # Only ASCII makes a name.
    name = value.decode("ascii", "replace")
    if not is_name(name):
        detail = f"{what} is not a name"
        raise MalformedError(detail)
    return name


def _address(value: bytes) -> IPAddress:
    if len(value) not in (4, 16):
        detail = f"ADDRESS of {len(value)} bytes"
        raise MalformedError(detail)
    address = ip_address(value)
    if not _is_host(address):
        detail = f"ADDRESS {address}"
        raise MalformedError(detail)
    return address


def _is_host(address: IPAddress) -> bool:
    return not (address.is_multicast or address.is_unspecified or address.is_loopback)
