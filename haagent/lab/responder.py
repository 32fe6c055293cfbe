"""Answers each UDP datagram with the datagram, a space and this host's name.

``python -m haagent.lab.responder NAME`` listens on every address, IPv4 and IPv6, now and later:
it needs no word when a virtual address comes or goes.  It answers from the address that was
asked, so the prober knows that it was the virtual address that answered.
"""

import argparse
import socket
from contextlib import suppress
from typing import NoReturn

PORT = 7007


def serve(name: str, port: int) -> NoReturn:
    """Answer for ever."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind(("::", port))
        suffix = f" {name}".encode()
        while True:
            request, asked, _, peer = sock.recvmsg(2048, 256)
            # The address may have left in the meantime; then nobody answers, as it should be.
            with suppress(OSError):
                sock.sendmsg([request, suffix], asked, 0, peer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    serve(parser.parse_args().name, PORT)
