"""The fence as nftables rules: text for libnftables, and the frames that renew a deadline.  Pure.

Two tables of the family ``netdev``, which sees ARP, IPv4 and IPv6 on the way in and out:

- ``haagent`` drops what shows a virtual address, unless the address is in a set whose elements
  time out, and the packet bears a mark.  It stays when the agent dies.
- ``haagent_alive`` sets that mark.  It is owned by the agent's netlink socket, so the kernel
  removes it at the agent's death.  It cannot simply accept: that would not end the other's chain.

An element is renewed by a frame that the agent sends into the interface and that the guard
swallows: rules renew the element when they see the frame.  A renewal by transaction would take
the lock that every other user of nftables needs (with a hundred a second ``nft list ruleset``
never ends).  A rule's timeout is fixed, so there is one rule for each length in use.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple, TypeAlias

from haagent.core.settings import IPAddress

GUARD, ALIVE = "haagent", "haagent_alive"

FRAME_TYPE = 0x88B5
"""Local Experimental EtherType 1 (IEEE 802)."""

_FRAME_SOURCE = bytes.fromhex("026861616700")
"""A locally administered MAC that nobody has."""

_MARK = 0x0080_0000
"""Set and cleared between our two chains; nobody else may set it on packets of the addresses."""

_SET = f"meta mark set meta mark | {_MARK:#x}"
_CLEAR = f"meta mark set meta mark & {_MARK ^ 0xFFFF_FFFF:#x}"

_ANNOUNCED = "arp saddr ip @v4_{n}"
"""An announcement asks nothing and tells us where the address is now (RFC 5227 2.3)."""


class _Hook(NamedTuple):
    """Where a packet shows the address that is judged.  Raw places for IPv6, because the target
    of neighbour discovery has no name in nft 1.0.6 and one set has one type."""

    name: str
    arp: str
    ipv4: str
    ipv6: str
    discovery: str
    """The message whose target is judged as well."""


_HOOKS = (
    _Hook("ingress", "arp daddr ip", "ip daddr", "@nh,192,128", "nd-neighbor-solicit"),
    _Hook("egress", "arp saddr ip", "ip saddr", "@nh,64,128", "nd-neighbor-advert"),
)
_TARGET = "@th,64,128"


def tables(
    guarded: dict[str, frozenset[IPAddress]],
    lengths: Collection[int],
    left: Mapping[tuple[str, IPAddress], int],
) -> str:
    """Return the commands that put both tables in place of the old ones.

    ``lengths``: timeouts in milliseconds for which there are rules.
    ``left``: for how many milliseconds more an address is open on an interface, if it is.
    """
    return (
        f"add table netdev {GUARD}\ndelete table netdev {GUARD}\n"
        f"table netdev {GUARD} {{\n{_lines(_guard(guarded, lengths, left))}}}\n"
        f"add table netdev {ALIVE} {{ flags owner; }}\ndelete table netdev {ALIVE}\n"
        f"table netdev {ALIVE} {{\nflags owner;\n{_lines(_alive(guarded))}}}\n"
    )


def frame(address: IPAddress | None = None, timeout_ms: int = 0) -> bytes:
    """Return the frame that opens ``address`` for a length of ``tables``, or closes it with 0.

    Without an address it changes nothing: whether it is swallowed tells whether a guard is there.

    Shape: Ethernet header, family (0, 4 or 6) and milliseconds in 16 bits each, the address.
    """
    family, packed = (address.version, address.packed) if address else (0, b"")
    header = struct.pack("!6x6sHHH", _FRAME_SOURCE, FRAME_TYPE, family, timeout_ms)
    return header + packed


def _guard(
    guarded: dict[str, frozenset[IPAddress]],
    lengths: Collection[int],
    left: Mapping[tuple[str, IPAddress], int],
) -> Iterator[str]:
    for n, (interface, addresses) in enumerate(guarded.items()):
        yield from _sets(n, addresses)
        times = {address: left.get((interface, address), 0) for address in addresses}
        open4, open6 = _by_family(a for a in addresses if times[a])
        for family, kind, open_now in ((4, "type ipv4_addr", open4), (6, _IPV6_TYPE, open6)):
            elements = _elements([f"{text} timeout {times[a]}ms" for a, text in open_now])
            form = f"{kind}; size 65535; flags dynamic,timeout; {elements}"
            yield f"set open{family}_{n} {{ {form} }}"
        yield f"chain renew_{n} {{"
        for family, bits in ((4, 32), (6, 128)):
            key, element = f"@ll,112,32 {family << 16:#x}", f"@ll,144,{bits}"
            yield f"{key} delete @open{family}_{n} {{ {element} }}"
            for length in lengths:
                key = f"@ll,112,32 {family << 16 | length:#x}"
                yield f"{key} update @open{family}_{n} {{ {element} timeout {length}ms }}"
        yield "drop\n}"
        for hook in _HOOKS:
            yield from _judging(n, hook)
            yield _base_chain(n, hook, interface, -500)
            for protocol, chain in _CHAINS.items():
                yield f"meta protocol {protocol} goto {hook.name}_{chain}_{n}"
            if hook.name == "egress":
                yield f"@ll,48,64 0x{_FRAME_SOURCE.hex()}{FRAME_TYPE:04x} goto renew_{n}"
            yield "}"


_CHAINS = {"ip": "ipv4", "ip6": "ipv6", "arp": "arp"}
"""By protocol, so that no packet meets a rule for another.  The most frequent first."""


def _judging(n: int, hook: _Hook) -> Iterator[str]:
    """Yield a chain for each protocol, and one for those that show two addresses."""
    yield f"chain {hook.name}_arp_{n} {{"
    if hook.name == "ingress":
        yield f"{_ANNOUNCED.format(n=n)} accept"
    yield from _judge(n, hook.arp, 4)
    yield f"}}\nchain {hook.name}_ipv4_{n} {{"
    yield from _judge(n, hook.ipv4, 4)
    yield f"}}\nchain {hook.name}_discovery_{n} {{"
    for key in (hook.ipv6, _TARGET):
        yield f"{key} @v6_{n} {key} != @open6_{n} drop"
        yield f"{key} @v6_{n} meta mark & {_MARK:#x} == 0 drop"
    for key in (hook.ipv6, _TARGET):
        yield f"{key} @v6_{n} {_CLEAR} accept"
    yield f"}}\nchain {hook.name}_ipv6_{n} {{"
    yield f"icmpv6 type {hook.discovery} goto {hook.name}_discovery_{n}"
    yield from _judge(n, hook.ipv6, 6)
    yield "}"


def _judge(n: int, key: str, family: int) -> Iterator[str]:
    """Yield two rules of which any packet takes one look into one set."""
    yield f"meta mark & {_MARK:#x} != 0 {key} @open{family}_{n} {_CLEAR} accept"
    yield f"{key} @v{family}_{n} drop"


def _alive(guarded: dict[str, frozenset[IPAddress]]) -> Iterator[str]:
    for n, (interface, addresses) in enumerate(guarded.items()):
        yield from _sets(n, addresses)
        for hook in _HOOKS:
            yield _base_chain(n, hook, interface, -510)
            yield f"{hook.ipv4} @v4_{n} {_SET} accept"
            yield f"meta protocol ip6 {hook.ipv6} @v6_{n} {_SET} accept"
            yield f"icmpv6 type {hook.discovery} {_TARGET} @v6_{n} {_SET} accept"
            if hook.name == "ingress":
                yield f"{_ANNOUNCED.format(n=n)} accept"
            yield f"{hook.arp} @v4_{n} {_SET}"
            yield "}"


def _sets(n: int, addresses: frozenset[IPAddress]) -> Iterator[str]:
    v4, v6 = _by_family(addresses)
    yield f"set v4_{n} {{ type ipv4_addr; {_elements([text for _, text in v4])} }}"
    yield f"set v6_{n} {{ {_IPV6_TYPE}; {_elements([text for _, text in v6])} }}"


_Written: TypeAlias = list[tuple[IPAddress, str]]
"""Addresses, each as an element of a set."""

_IPV6_TYPE = "typeof @nh,64,128"


def _by_family(addresses: Iterable[IPAddress]) -> tuple[_Written, _Written]:
    v4: _Written = []
    v6: _Written = []
    for address in addresses:
        if isinstance(address, IPv4Address):
            v4.append((address, str(address)))
        else:
            v6.append((address, f"{int(address):#x}"))
    return v4, v6


def _elements(values: list[str]) -> str:
    return f"elements = {{ {', '.join(values)} }}" if values else ""


def _base_chain(n: int, hook: _Hook, interface: str, priority: int) -> str:
    place = f'type filter hook {hook.name} device "{interface}" priority {priority}'
    return f"chain {hook.name}_{n} {{\n{place}; policy accept;"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
