"""Whether a process listens on the TCP port of agents, as its kernel tells."""

import asyncio
import socket

from haagent.core.settings import IPAddress

CONNECT_S = 2.0
"""How long an answer may take; a kernel needs a millisecond."""

OPEN, REFUSED, SILENT = "open", "refused", "silent"


async def connect(interface: str, address: IPAddress, port: int) -> str:
    """Return what becomes of a connection over ``interface``: one of the words above.

    Nothing is said over it, and it is closed at once.
    """
    ipv4 = address.version == 4
    scope = socket.if_nametoindex(interface) if address.is_link_local else 0
    where = (str(address), port, *(() if ipv4 else (0, scope)))
    with socket.socket(socket.AF_INET if ipv4 else socket.AF_INET6) as opened:
        opened.setblocking(False)
        device = interface.encode() + b"\0"
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().sock_connect(opened, where)
        except ConnectionRefusedError:
            return REFUSED
        except OSError:
            return SILENT  # TimeoutError is one.
        return OPEN
