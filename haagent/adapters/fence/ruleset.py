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
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address

from haagent.core.settings import IPAddress

GUARD, ALIVE = "haagent", "haagent_alive"

FRAME_TYPE = 0x88B5
"""Local Experimental EtherType 1 (IEEE 802)."""

_FRAME_SOURCE = bytes.fromhex("026861616700")
"""A locally administered MAC that nobody has."""

_MARK = 0x0080_0000
"""Set and cleared between our two chains; nobody else may set it on packets of the addresses."""

_INGRESS = (
    # An announcement asks nothing and tells us where the address is now (RFC 5227 2.3).
    ("arp saddr ip != @v4_{n}", "arp daddr ip", 4),
    ("", "ip daddr", 4),
    ("meta protocol ip6", "@nh,192,128", 6),
    ("icmpv6 type nd-neighbor-solicit", "@th,64,128", 6),
)
_EGRESS = (
    ("", "arp saddr ip", 4),
    ("", "ip saddr", 4),
    ("meta protocol ip6", "@nh,64,128", 6),
    ("icmpv6 type nd-neighbor-advert", "@th,64,128", 6),
)
"""Condition, place and family of each address that a packet shows.  Raw places for IPv6, because
the target of neighbour discovery has no name in nft 1.0.6 and one set has one type."""

_HOOKS = (("ingress", _INGRESS), ("egress", _EGRESS))


def tables(guarded: dict[str, frozenset[IPAddress]], lengths: Collection[int]) -> str:
    """Return the commands that put both tables in place of the old ones, all closed.

    ``lengths``: timeouts in milliseconds for which there are rules.
    """
    return (
        f"add table netdev {GUARD}\ndelete table netdev {GUARD}\n"
        f"table netdev {GUARD} {{\n{_lines(_guard(guarded, lengths))}}}\n"
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


def _guard(guarded: dict[str, frozenset[IPAddress]], lengths: Collection[int]) -> Iterator[str]:
    for n, (interface, addresses) in enumerate(guarded.items()):
        yield from _sets(n, addresses)
        yield f"set open4_{n} {{ type ipv4_addr; size 65535; flags dynamic,timeout; }}"
        yield f"set open6_{n} {{ typeof @nh,64,128; size 65535; flags dynamic,timeout; }}"
        yield f"chain renew_{n} {{"
        for family, bits in ((4, 32), (6, 128)):
            key, element = f"@ll,112,32 {family << 16:#x}", f"@ll,144,{bits}"
            yield f"{key} delete @open{family}_{n} {{ {element} }}"
            for length in lengths:
                key = f"@ll,112,32 {family << 16 | length:#x}"
                yield f"{key} update @open{family}_{n} {{ {element} timeout {length}ms }}"
        yield "drop\n}"
        for hook, places in _HOOKS:
            yield _base_chain(n, hook, interface, -500)
            if hook == "egress":
                yield f"@ll,48,64 0x{_FRAME_SOURCE.hex()}{FRAME_TYPE:04x} goto renew_{n}"
            for shown, key, family in _shown(n, places):
                yield f"{shown} {key} != @open{family}_{n} drop"
                yield f"{shown} meta mark & {_MARK:#x} == 0 drop"
            for shown, _, _ in _shown(n, places):
                yield f"{shown} meta mark set meta mark & {_MARK ^ 0xFFFF_FFFF:#x}"
            yield "}"


def _alive(guarded: dict[str, frozenset[IPAddress]]) -> Iterator[str]:
    for n, (interface, addresses) in enumerate(guarded.items()):
        yield from _sets(n, addresses)
        for hook, places in _HOOKS:
            yield _base_chain(n, hook, interface, -510)
            for shown, _, _ in _shown(n, places):
                yield f"{shown} meta mark set meta mark | {_MARK:#x}"
            yield "}"


def _sets(n: int, addresses: frozenset[IPAddress]) -> Iterator[str]:
    v4 = [str(a) for a in addresses if isinstance(a, IPv4Address)]
    v6 = [f"{int(a):#x}" for a in addresses if not isinstance(a, IPv4Address)]
    yield f"set v4_{n} {{ type ipv4_addr; {_elements(v4)} }}"
    yield f"set v6_{n} {{ typeof @nh,64,128; {_elements(v6)} }}"


def _elements(values: list[str]) -> str:
    return f"elements = {{ {', '.join(values)} }}" if values else ""


def _base_chain(n: int, hook: str, interface: str, priority: int) -> str:
    place = f'type filter hook {hook} device "{interface}" priority {priority}'
    return f"chain {hook}_{n} {{\n{place}; policy accept;"


def _shown(n: int, places: Iterable[tuple[str, str, int]]) -> Iterator[tuple[str, str, int]]:
    """Yield the match of a packet that shows a virtual address, the place of it, its family."""
    for condition, key, family in places:
        yield f"{condition.format(n=n)} {key} @v{family}_{n}", key, family


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
