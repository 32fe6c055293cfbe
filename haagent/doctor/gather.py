"""All facts of one visit, each gathered once.

What cannot be done for want of privileges is left out and said; all else goes on.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from haagent.adapters.datagrams import source_addresses
from haagent.config import KeyFileError, Loaded, read_key
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, fetch_status
from haagent.core.identity import NodeId, node_id
from haagent.core.settings import AgentSettings, IPAddress, PathSettings
from haagent.doctor import facts, machine
from haagent.doctor.facts import Facts, Machine, RunningAgent
from haagent.doctor.listen import Listened, Place, Visit

_STATUS_S = 3.0


def gather(loaded: Loaded, seconds: float) -> Facts:
    """Return what is found out in ``seconds`` and a little more."""
    settings, undone = loaded.settings, list[str]()
    reply, _ = _ask(loaded.control_socket)
    this_host = machine.look(settings, undone.append)
    proxy = None
    if settings.haproxy is not None:
        proxy = machine.proxy(settings.haproxy.socket, undone.append)
    key, key_trouble = _key(loaded.key_file, undone)
    ends = [_end(path, settings, this_host) for path in settings.heartbeat.paths]
    listened = None
    if key is not None:
        nodes, known = _known(settings, reply)
        listened = _listen(lambda: Visit(settings, key, ends, nodes, known), seconds, undone)
    # The newest word of the agent and the kernel, beside the newest words of the others.
    last, silence = _ask(loaded.control_socket)
    this_host = replace(this_host, addresses=machine.addresses())
    return Facts(
        settings=settings,
        agent=None if last is None else _agent(last, reply),
        agent_trouble=silence,
        key_trouble=key_trouble,
        paths=_paths(settings, ends, listened),
        owners=None if listened is None else listened.owners,
        machine=this_host,
        proxy=proxy,
        undone=tuple(undone),
    )


def suggested_seconds(settings: AgentSettings) -> float:
    """Return how long to listen: 5 s, or so long that each agent has spoken twice."""
    return max(5.0, 2.2 * settings.heartbeat.backup_interval / 1e9)


def _ask(control_socket: Path) -> tuple[pb.StatusReply | None, str]:
    try:
        return fetch_status(control_socket, _STATUS_S), ""
    except AgentUnreachable as error:
        return None, str(error)


def _agent(last: pb.StatusReply, first: pb.StatusReply | None) -> RunningAgent:
    before, roles = _roles(first or last), _roles(last)
    return RunningAgent(
        lateness_ms=last.runtime.loop_lateness_ms,
        roles=roles,
        uptime_ms=last.runtime.uptime_ms,
        moved=frozenset(name for name in roles if before.get(name) != roles[name]),
    )


def _roles(reply: pb.StatusReply) -> dict[str, str]:
    return {group.role.group: group.role.state for group in reply.groups}


def _key(file: Path, undone: list[str]) -> tuple[bytes | None, str]:
    """Return the key, or None and what is wrong with it."""
    try:
        return read_key(file), ""
    except KeyFileError as error:
        # For want of rights nothing is wrong with the key.
        if isinstance(error.__context__, PermissionError):
            undone.append(f"nothing was sent, and nobody heard: {error}")
            return None, ""
        return None, str(error)


def _end(path: PathSettings, settings: AgentSettings, this_host: Machine) -> Place:
    """Return the address that an agent would speak from on ``path``."""
    link = psutil.net_if_stats().get(path.interface)
    if link is None:
        return Place(None, "there is no such interface")
    if not link.isup:
        return Place(None, "it is down, or has no carrier")
    virtual = frozenset(a.ip for group in settings.groups for a in group.addresses)
    here = (address for name, address in this_host.addresses if name == path.interface)
    usable = source_addresses(path, here, virtual)
    if not usable:
        return Place(None, "it has no address of its own of the path's family")
    return Place(usable[0], "")


def _listen(visit: Callable[[], Visit], seconds: float, undone: list[str]) -> Listened | None:
    async def listen() -> Listened:
        return await visit().run(seconds)

    try:
        return asyncio.run(listen())
    except OSError as error:
        undone.append(f"nothing was sent, and nobody heard: {error.strerror or error}")
        return None


def _known(
    settings: AgentSettings, reply: pb.StatusReply | None
) -> tuple[frozenset[NodeId], dict[str, frozenset[tuple[NodeId, IPAddress]]]]:
    """Return who may be there: those that the agent knows of, and those that the file names."""
    servers = [s for b in settings.haproxy.backends for s in b.servers] if settings.haproxy else []
    nodes = {node_id(server.of) for server in servers if server.of}
    known: dict[str, frozenset[tuple[NodeId, IPAddress]]] = {}
    for peer in reply.peers if reply is not None else ():
        node = NodeId(int(peer.node_id, 16))
        nodes.add(node)
        for path in peer.paths:
            place = node, ipaddress.ip_address(path.source)
            known[path.interface] = known.get(path.interface, frozenset()) | {place}
    return frozenset(nodes - {settings.node_id}), known


def _paths(
    settings: AgentSettings, ends: list[Place], listened: Listened | None
) -> tuple[facts.Path, ...]:
    if listened is not None:
        return listened.paths
    # Nobody listened: of each path it is only known whether it can be used.
    return tuple(
        facts.Path(settings=path, trouble=end.trouble)
        for path, end in zip(settings.heartbeat.paths, ends, strict=True)
    )
