"""Virtual addresses on interfaces, and the links under them, through rtnetlink.

:meth:`Netlink.claim` and :meth:`Netlink.release` put an address on an interface and take
it off; :meth:`Netlink.run` watches and posts ``LinkChanged`` and ``AddressRemoved``.  What
a notification says is never believed, only that there was one: the state is then asked for
anew, so lost, late and doubled notifications do no harm.  One about an address that was not
claimed is passed over: others may change thousands in a second.

A claim and a release are plain function calls of some 0.1 ms (``requests``); whatever is done
again and again has a thread, because it waits for the kernel's rtnetlink lock.  pyroute2's codecs
are used, not its ``AsyncIPRoute``: there a claim takes turns of the loop between request
and answer, and after one ENOBUFS the object raises for ever.  Listings are read by hand: of 2000
addresses they take pyroute2 70 ms, in which no heartbeat is sent.

What goes away together with a link (all IPv6 addresses when the interface is set down, every
address when it is deleted) is said by ``LinkChanged(up=False)`` alone: what was claimed there
is no longer watched, and whoever wants it back claims it again when the link is up.

An interface in a bridge, a bond or a team counts as down: what arrives is the bridge's, and who
hears nobody would claim what others have.

What this module does not do: decide who holds an address (``haagent.core.ownership``), tell
the neighbours (``haagent.adapters.link``), or enforce an end (``haagent.adapters.fence``).
"""

import asyncio
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from fcntl import ioctl
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_interface
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, IFA_F_NOPREFIXROUTE, ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from haagent.adapters.netlink.listing import ADDRESS_PROTOCOL
from haagent.adapters.netlink.requests import Requests, open_socket
from haagent.core.events import AddressRemoved, Event, LinkChanged
from haagent.core.settings import IPAddress, IPInterface
from haagent.core.units import DurationNs

_PAUSE_S = 0.005
"""Between two looks, whatever the kernel tells."""

SIOCETHTOOL = 0x8946
ETHTOOL_GLINK = 0x0000_000A
SIOCGIFFLAGS = 0x8913
IFF_UP_AND_RUNNING = 0x0001 | 0x0040
_RTEXT_FILTER_SKIP_STATS = 1 << 3


class Netlink:
    """See the module docstring.  Belongs to the network namespace that it is made in."""

    def __init__(
        self,
        addresses: Mapping[str, frozenset[IPAddress]],
        post: Callable[[Event], None],
        interval: DurationNs,
    ) -> None:
        """``addresses``: the virtual addresses of each interface; no other interface is watched.

        ``interval``: how often the carrier is asked for.  The kernel delays its own word of a
        lost carrier by up to 0.92 s.
        """
        self._addresses = addresses
        self._post = post
        self._interval_s = interval / 1e9
        self._up: dict[str, int] = {}
        """Index of the interface while its link is up, 0 while not; empty before the first look."""
        self._enslaved: set[str] = set()
        self._claimed: set[tuple[str, IPAddress]] = set()
        self._created: dict[tuple[str, IPAddress], int] = {}
        """When each claimed address was put there, as it was first seen."""
        self._placed: dict[tuple[str, IPAddress], int] = {}
        """Index of the interface that an address was put on, whatever name it bears since."""
        self._ioctls = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._requests = Requests()
        self._looks = Requests()
        """For the thread that looks, and prolongs."""
        self._aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._prolonging: dict[tuple[str, IPAddress], Future[None]] = {}

    async def run(self) -> None:
        """Post the state of each link now, then every change, until cancelled.

        Raises: OSError for want of CAP_NET_ADMIN.
        """
        self._require_privilege()
        loop = asyncio.get_running_loop()
        hint = asyncio.Event()
        with open_socket(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR) as events:
            try:
                kinds = {RTM_NEWLINK}
                while True:
                    kinds |= _drain(events, {address.packed for _, address in self._claimed})
                    look = partial(self._links, slaves_too=RTM_NEWLINK in kinds)
                    self._compare(await loop.run_in_executor(self._aside, look))
                    if kinds & {RTM_NEWADDR, RTM_DELADDR}:
                        self._look_at_addresses()
                    # Others may change thousands of addresses; one look is enough for many.
                    await asyncio.sleep(_PAUSE_S)
                    kinds.clear()
                    hint.clear()
                    loop.add_reader(events, hint.set)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._interval_s):
                            await hint.wait()
                    loop.remove_reader(events)
            finally:
                loop.remove_reader(events)

    def watch(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None:
        """Go by ``addresses`` from now on; posts the state of each link that is new."""
        self._addresses = addresses
        self._up = {name: index for name, index in self._up.items() if name in addresses}
        self._compare(self._aside.submit(self._links, slaves_too=True).result())

    async def claim(
        self, interface: str, address: IPInterface, lifetime: DurationNs | None = None
    ) -> None:
        """Put ``address`` on ``interface``, or refresh it when it is there.

        ``lifetime``: after this time, in whole seconds rounded up, the kernel removes the
        address if it is not claimed again; up to some 1.4 s later.  None: it stays.

        It gets no route to its prefix and, for IPv6, no duplicate address detection and no
        preferred lifetime, so that it is never chosen as a source.  IPv4 keeps the prefix
        route of an address that somebody else had set before.

        Raises: OSError with the kernel's errno.
        """
        try:
            index = _index(interface)
            _put(self._requests, index, address, lifetime)
        except OSError as error:
            raise _explained(error, f"cannot add {address} to {interface}") from error
        self._claimed.add((interface, address.ip))
        self._created.pop((interface, address.ip), None)
        self._placed[interface, address.ip] = index

    async def prolong(self, interface: str, address: IPInterface, lifetime: DurationNs) -> None:
        """Refresh the lifetime of a claimed address in a thread: it may wait for the kernel.

        Nothing is done while the one before it is under way.
        Raises: as :meth:`claim`.
        """
        key = (interface, address.ip)
        index = self._placed.get(key)
        if index is None or key in self._prolonging:
            return
        future = self._aside.submit(_put, self._looks, index, address, lifetime)
        self._prolonging[key] = future
        try:
            await asyncio.wrap_future(future)
        except OSError as error:
            raise _explained(error, f"cannot prolong {address} on {interface}") from error
        finally:
            del self._prolonging[key]

    async def release(self, interface: str, address: IPInterface) -> None:
        """Take ``address`` off ``interface``, under whatever prefix lengths it is there.

        And off the interface that it was claimed on, should that have another name by now.
        An address that is not there, on an interface that may not be there, is fine.
        Raises: OSError with the kernel's errno.
        """
        key = (interface, address.ip)
        if key in self._prolonging:
            # It would come back behind us.
            await asyncio.wait([asyncio.wrap_future(self._prolonging[key])])
        self._claimed.discard(key)
        places = {self._placed[key]} if key in self._placed else set()
        with suppress(OSError):
            places.add(_index(interface))
        try:
            for index in places:
                self._clear(index, address.ip)
        except OSError as error:
            raise _explained(error, f"cannot remove {address} from {interface}") from error
        self._placed.pop(key, None)

    async def ours(self) -> list[tuple[str, IPInterface]]:
        """Return the addresses to clean up: tagged as ours, or virtual ones in their place."""
        found = []
        for entry in self._requests.addresses():
            with suppress(OSError):  # the interface has gone since
                interface = socket.if_indextoname(entry.index)
                virtual = ip_address(entry.packed) in self._addresses.get(interface, ())
                if entry.tagged or virtual:
                    found.append((interface, ip_interface((entry.packed, entry.prefix_length))))
        return found

    def _require_privilege(self) -> None:
        """Find out now, and not when the first address is to be claimed.

        The kernel asks for the privilege before it looks for the interface, which there is not.
        """
        try:
            self._delete(0, IPv4Address(0))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise _explained(error, "cannot change addresses") from error

    def _links(self, *, slaves_too: bool) -> dict[str, int]:
        """Return the index of each interface whose link is up, 0 of the others.  In the thread."""
        if slaves_too:
            self._enslaved = {each for each in self._addresses if self._is_slave(each)}
        return {interface: self._link(interface) for interface in self._addresses}

    def _compare(self, links: Mapping[str, int]) -> None:
        for interface, now in links.items():
            before = self._up.get(interface)
            if now == before or interface not in self._addresses:  # given up meanwhile
                continue
            self._up[interface] = now
            if before or not now:  # went down, or another device bears the name now
                self._claimed = {claim for claim in self._claimed if claim[0] != interface}
                self._post(LinkChanged(interface, up=False))
            if now:
                self._post(LinkChanged(interface, up=True))

    def _link(self, interface: str) -> int:
        """Return the index of ``interface`` if it is up and has a carrier, else 0."""
        try:
            index = _index(interface)
            usable = interface not in self._enslaved and self._has_carrier(interface)
            return index if usable else 0
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0

    def _is_slave(self, interface: str) -> bool:
        """Return whether what arrives on ``interface`` is taken by a bridge or the like."""
        message = ifinfmsg()
        message["attrs"] = [("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS)]
        try:
            message["index"] = _index(interface)
            link, *_ = self._looks.ask(RTM_GETLINK, NLM_F_ACK, message)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
        kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_KIND")
        return kind not in (None, "vrf")

    def _has_carrier(self, interface: str) -> bool:
        answer = (ctypes.c_uint32 * 2)(ETHTOOL_GLINK, 0)
        try:
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(answer))
            ioctl(self._ioctls, SIOCETHTOOL, request)
            return bool(answer[1])
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            # A driver without this call (ifb, dummy) has flags all the same.
            reply = ioctl(self._ioctls, SIOCGIFFLAGS, struct.pack("16s24x", interface.encode()))
            flags: int = struct.unpack_from("16xH", reply)[0]
            return flags & IFF_UP_AND_RUNNING == IFF_UP_AND_RUNNING

    def _look_at_addresses(self) -> None:
        """Post every claimed address that is not there any more, or is there anew.

        Who prolongs an address that has just been removed puts it there again.
        """
        for interface in {interface for interface, _ in self._claimed}:
            try:
                listed = self._requests.addresses(_index(interface))
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
                continue  # deleted since the look at links; the next one tells
            created = {entry.packed: entry.created for entry in listed}
            for key in [key for key in self._claimed if key[0] == interface]:
                found = created.get(key[1].packed)
                if found is None or found != self._created.setdefault(key, found):
                    self._claimed.discard(key)
                    self._post(AddressRemoved(*key))

    def _clear(self, index: int, address: IPAddress) -> None:
        """Remove every entry of ``address`` from an interface, which may be gone."""
        try:
            while True:
                self._delete(index, address)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise

    def _delete(self, index: int, address: IPAddress) -> None:
        """Remove one entry of ``address``; EADDRNOTAVAIL when there is none."""
        message = _message(index, address)
        if address.version == 6:
            # Only IPv4 finds the entry without being told the prefix length.
            entry, _ = self._requests.ask(RTM_GETADDR, NLM_F_ACK, message)
            message = _message(index, address)
            message["prefixlen"] = entry["prefixlen"]
        self._requests.ask(RTM_DELADDR, NLM_F_ACK, message)


_SETTINGS: dict[int, tuple[tuple[str, Any], ...]] = {
    4: (("IFA_PROTO", ADDRESS_PROTOCOL), ("IFA_FLAGS", IFA_F_NOPREFIXROUTE)),
    6: (("IFA_PROTO", ADDRESS_PROTOCOL), ("IFA_FLAGS", IFA_F_NOPREFIXROUTE | IFA_F_NODAD)),
}
"""What a claimed address looks like, by IP version."""

_FOR_EVER = 0xFFFF_FFFF


def _put(requests: Requests, index: int, address: IPInterface, lifetime: DurationNs | None) -> None:
    """Add an address, or refresh it.  Raises: OSError."""
    settings = [*_SETTINGS[address.version], _cacheinfo(address, lifetime)]
    message = _message(index, address.ip, settings)
    message["prefixlen"] = address.network.prefixlen
    requests.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, message)


def _cacheinfo(address: IPInterface, lifetime: DurationNs | None) -> tuple[str, dict[str, int]]:
    """Return the lifetimes of a claimed address, in seconds.

    An IPv6 address is deprecated at once, so that it is not chosen as a source.
    """
    valid = _FOR_EVER if lifetime is None else -(-lifetime // 1_000_000_000)
    preferred = valid if address.version == 4 else 0
    return "IFA_CACHEINFO", {"ifa_preferred": preferred, "ifa_valid": valid}


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:  # its errno is None in Python 3.11
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error


def _message(index: int, address: IPAddress, settings: Sequence[tuple[str, Any]] = ()) -> ifaddrmsg:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", str(address)), *settings]
    return message


def _drain(events: socket.socket, claimed: Set[bytes]) -> set[int]:
    """Empty the socket; return the types of what came, of addresses the ``claimed`` alone."""
    kinds: set[int] = set()
    while True:
        try:
            message = events.recv(256)
            _, kind = struct.unpack_from("=IH", message)
            if kind == RTM_NEWLINK or any(address in message for address in claimed):
                kinds.add(kind)
        except BlockingIOError:
            return kinds
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            kinds |= {RTM_DELADDR, RTM_NEWLINK}  # messages were lost, perhaps such


def _explained(error: OSError, what: str) -> OSError:
    hint = " (needs CAP_NET_ADMIN)" if error.errno == errno.EPERM else ""
    return OSError(error.errno, f"{what}: {error.strerror}{hint}")
