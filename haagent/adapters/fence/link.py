"""Which device bears an interface's name now, and whether the fence can read its frames."""

import errno
import socket
import struct
from fcntl import ioctl

_SIOCGIFHWADDR = 0x8927
_ETHERNET = (1, 772)
"""ARPHRD_ETHER and ARPHRD_LOOPBACK: what has an Ethernet header."""


def index(interface: str) -> int:
    """Return the index of ``interface``, 0 when there is no such device.

    Raises: OSError, EOPNOTSUPP when its frames have no Ethernet header.
    """
    try:
        found = socket.if_nametoindex(interface)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            reply = ioctl(any_socket, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    except OSError:
        return 0  # not there, or gone in this moment
    if struct.unpack_from("16xH", reply)[0] not in _ETHERNET:
        raise OSError(errno.EOPNOTSUPP, f"{interface} is not an Ethernet interface")
    return found
