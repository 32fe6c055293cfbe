"""What both ends of the peer bus prove who they are with; a process of its own makes it.

What this module does not do: say what a certificate holds (``haagent.bus.certificates``).
"""

import json
from dataclasses import dataclass

import grpc

from haagent.adapters.programs import run_module
from haagent.adapters.programs.in_thread import in_thread

_TIMEOUT_S = 20.0
"""For a machine that is just starting everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Of one agent, for both its ends."""

    server: grpc.ServerCredentials
    channel: grpc.ChannelCredentials


async def make_credentials(seed: bytes, cluster: str, node: str) -> Credentials:
    """Return new ones for the agent called ``node``.

    Raises: OSError; the text says why.
    """
    asked = {"seed": seed.hex(), "cluster": cluster, "node": node}
    ended = await in_thread(lambda: run_module("bus.certificates", asked, timeout_s=_TIMEOUT_S))
    try:
        # Before it there may be what a library has to say.
        made = json.loads(ended.output.splitlines()[-1]) if ended.ok else {}
        authority, chain, key = (
            made[part].encode() for part in ("authority", "certificate", "key")
        )
    except (ValueError, KeyError, IndexError):
        # A key has no place in the journal, nor has a part of one.
        why = "its process was cut short" if "PRIVATE KEY" in ended.output else ended.text
        msg = f"no certificate: {why}"
        raise OSError(msg) from None
    return Credentials(
        server=grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=True),
        channel=grpc.ssl_channel_credentials(authority, key, chain),
    )
