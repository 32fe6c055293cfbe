"""The addresses of the file: like ``haagent.config.values``, what YAML gave goes in, the value
or a ValueError that says what is required comes out.
"""

import re
from ipaddress import IPv4Address, ip_address, ip_interface
from typing import NamedTuple

from haagent.config.values import text
from haagent.core.settings import IPAddress, IPInterface

_ENDPOINT = re.compile(r"(?:\[(?P<v6>[^\]]*:[^\]]*)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})")

_URL = re.compile(r"https?://(?P<host>[0-9.]+|\[[^\]]+\])(?::(?P<port>[0-9]{1,5}))?(?:/[!-~]*)?")


class Endpoint(NamedTuple):
    """Where a server listens."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


def virtual_address(raw: object) -> IPInterface:
    """Return an address that agents may put on an interface; alone it means /32 or /128."""
    bare, slash, prefix = text(raw).partition("/")
    host = _host(_address(bare))
    if not slash:
        return ip_interface(host)
    if not re.fullmatch(r"[0-9]{1,3}", prefix) or not 1 <= int(prefix) <= host.max_prefixlen:
        requirement = f"must have a prefix length /1../{host.max_prefixlen}"
        raise ValueError(requirement)
    address = ip_interface(f"{host}/{prefix}")
    network = address.network
    if network.num_addresses > 2 and host == network.network_address:
        raise ValueError("must be the address of a host, not of the network")
    if network.num_addresses > 2 and host.version == 4 and host == network.broadcast_address:
        raise ValueError("must be the address of a host, not the broadcast address")
    return address


def host(raw: object) -> IPAddress:
    """Return the address of one host: another agent, or the reference of a path."""
    return _host(_address(text(raw)))


def multicast_group(raw: object) -> IPAddress:
    """Return a multicast group."""
    address = _address(text(raw))
    if not address.is_multicast:
        raise ValueError("must be a multicast group; unicast addresses go under 'peers'")
    return address


def endpoint(raw: object) -> Endpoint:
    """Return address and port of a server."""
    found = _ENDPOINT.fullmatch(text(raw))
    if not found:
        raise ValueError(
            "must be IP:port, as in 192.0.2.5:8080 or '[2001:db8::5]:8080' (no names: HAProxy "
            "resolves none at run time)"
        )
    address = _address(found["v6"] or found["v4"])
    if address.is_multicast or address.is_unspecified:
        raise ValueError("must be the address of a host")
    if not 1 <= int(found["port"]) <= 65_535:
        raise ValueError("must have a port 1..65535")
    return Endpoint(address, int(found["port"]))


def url(raw: object) -> str:
    """Return the URL of a web server."""
    found = _URL.fullmatch(text(raw))
    if not found:
        raise ValueError(
            "must be http:// or https://, an IP address (no name: looking it up takes a time that "
            "nobody limits), a port if it is not the usual one, and a path"
        )
    endpoint(f"{found['host']}:{found['port'] or 80}")
    return text(raw)


def listener(raw: object) -> Endpoint:
    """Return address and port that the agent itself is to listen on."""
    found = _ENDPOINT.fullmatch(text(raw))
    if not found:
        raise ValueError("must be IP:port, as in 127.0.0.1:6942 or '[::1]:6942'")
    address = _address(found["v6"] or found["v4"])
    if address.is_multicast:
        raise ValueError("must be an address of this host, not a multicast address")
    if not 1 <= int(found["port"]) <= 65_535:
        raise ValueError("must have a port 1..65535")
    return Endpoint(address, int(found["port"]))


def _address(written: str) -> IPAddress:
    try:
        address = ip_address(written)
    except ValueError:
        raise ValueError("must be an IP address") from None
    if "%" in written:
        raise ValueError("must be an IP address without a zone")
    return address


def _host(address: IPAddress) -> IPAddress:
    zero_network = isinstance(address, IPv4Address) and int(address) >> 24 == 0
    nonsense = {
        "a multicast": address.is_multicast,
        "a loopback": address.is_loopback,
        "an unspecified": address.is_unspecified or zero_network,
        "a reserved": address.is_reserved,
    }
    for what, applies in nonsense.items():
        if applies:
            requirement = f"must be the address of a host, not {what} address"
            raise ValueError(requirement)
    return address
