"""Requests to the kernel's rtnetlink, each a plain function call.

The kernel does the work inside ``send`` and leaves the answer in the socket, so the socket never
blocks; the call waits for the rtnetlink lock of the whole machine, though, which others may hold
for most of a second (containers that come and go).  Who must not wait calls from a thread, and
each thread has requests of its own.

Source: rtnetlink(7).
"""

import socket
from contextlib import suppress
from itertools import count
from typing import Any

from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from haagent.adapters.netlink import listing
from haagent.adapters.netlink.listing import Entry

_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 1 << 20
"""Bytes for some thousand notifications; more than the default limit of all sockets."""

_TRIES = 3
"""Listings of one interface while somebody changes its addresses without end."""


class Requests:
    """See the module docstring.  Belongs to the network namespace that it is made in."""

    def __init__(self) -> None:
        self._marshal = MarshalRtnl()
        self._numbers = count(1)
        self._socket = open_socket(groups=0)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        # Lets the kernel list one interface instead of all.
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)

    def ask(self, kind: int, flags: int, message: ifaddrmsg | ifinfmsg) -> list[Any]:
        """Return all answers to ``message``, the closing one included.

        Raises: OSError with the kernel's errno.
        """
        number = next(self._numbers)
        message["header"]["type"] = kind
        message["header"]["flags"] = NLM_F_REQUEST | flags
        message["header"]["sequence_number"] = number
        message.encode()
        self._socket.send(message.data)
        answers = []
        while True:
            for answer in self._marshal.parse(self._socket.recv(65536)):
                header = answer["header"]
                if header["sequence_number"] != number:
                    continue  # the rest of a listing that ended in an error
                if header["error"]:
                    code, text = header["error"].args
                    raise OSError(code, text)
                answers.append(answer)
                if header["type"] in (NLMSG_ERROR, NLMSG_DONE):
                    return answers

    def addresses(self, index: int = 0) -> list[Entry]:
        """Return the addresses of one interface, or of all.

        What was seen in any of the tries, should each have met a change; it may lack some.
        Raises: OSError, ENODEV when there is no such interface.
        """
        found: list[Entry] = []
        for _ in range(_TRIES):
            entries, whole = listing.read(self._socket, next(self._numbers), index)
            if whole:
                return entries
            found += entries
        return list(dict.fromkeys(found))


def open_socket(groups: int) -> socket.socket:
    """Return a socket that hears the multicast ``groups`` of rtnetlink."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    opened.setblocking(False)
    with suppress(PermissionError):
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    opened.bind((0, groups))
    return opened
