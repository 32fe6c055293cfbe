"""Values of the file compared with each other.

Each check asks the document for the values that are right in themselves, so a mistake
elsewhere in the file does not hide what it would find.
"""

from collections.abc import Iterator
from itertools import chain

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.group_checks import check_contradictions, check_doubts
from haagent.config.haproxy_file import file_contradictions
from haagent.config.hooks import hook_contradictions, hook_doubts
from haagent.config.http import listener_contradictions
from haagent.config.model import File
from haagent.config.nodes import node_contradictions, node_doubts
from haagent.config.notifications import notification_contradictions, notification_doubts
from haagent.config.problems import Place, Problem
from haagent.config.rules import host_name, once, repeated, routed_groups
from haagent.config.values import Profile
from haagent.core.identity import group_id
from haagent.core.settings import MULTICAST_IPV4, IPAddress

_SERVERS = "haproxy.backends.*.servers.*"


def contradictions(document: Document, node: str) -> Iterator[Problem]:
    """Yield what makes the file unusable on the node called ``node``."""
    yield from host_name(document, node)
    yield from _peers_or_group(document)
    yield from _repeated_paths(document)
    yield from _peers(document)
    yield from _named_peers(document)
    yield from _references(document)
    yield from _addresses(document)
    yield from _group_ids(document)
    yield from _server_names(document)
    yield from _server_groups(document)
    yield from _own_node(document, node)
    yield from _sockets(document)
    yield from node_contradictions(document)
    yield from check_contradictions(document)
    yield from listener_contradictions(document)
    yield from hook_contradictions(document)
    yield from file_contradictions(document)
    yield from notification_contradictions(document)


def doubts(document: Document) -> Iterator[Problem]:
    """Yield what works, but seldom as meant."""
    yield from routed_groups(document, "and then both agents are master")
    if Profile.FIXED in _profiles(document):
        for place, _ in document.find("heartbeat.paths.*.reference"):
            text = "has no effect with profile fixed, which asks nobody"
            yield document.at_key(place, text)
    yield from check_doubts(document)
    yield from hook_doubts(document)
    yield from node_doubts(document)
    yield from notification_doubts(document)
    virtual = {address for _, address in _virtual_addresses(document)}
    for place, endpoint in document.select(f"{_SERVERS}.address", addresses.endpoint):
        if endpoint.address in virtual:
            text = f"{endpoint.address} is a virtual address: the master will send to itself"
            yield document.at_value(place, text)


def _peers_or_group(document: Document) -> Iterator[Problem]:
    for place, path in document.find("heartbeat.paths.*"):
        if isinstance(path, dict) and {"peers", "group"} <= path.keys():
            text = "must be left out where 'peers' are given, heartbeats go to these alone"
            yield document.at_key((*place, "group"), text)


def _repeated_paths(document: Document) -> Iterator[Problem]:
    interfaces = document.select("heartbeat.paths.*.interface", values.interface)
    families = ((place, (name, _family(document, place[:-1]))) for place, name in interfaces)
    return once(document, families)


def _peers(document: Document) -> Iterator[Problem]:
    peers = list(document.select("heartbeat.paths.*.peers.*", addresses.host))
    yield from once(document, ((place, (place[:3], peer)) for place, peer in peers))
    virtual = {address for _, address in _virtual_addresses(document)}
    for place, peer in peers:
        if peer.version != _family(document, place[:3]):
            text = "must be of the same IP version as the first peer of the path"
            yield document.wrong_value(place, text)
        if peer in virtual:
            text = "must be an agent's own address, is a virtual address that moves"
            yield document.at_value(place, text)


def _named_peers(document: Document) -> Iterator[Problem]:
    if Profile.WAN in _profiles(document):
        for place, path in document.find("heartbeat.paths.*"):
            if isinstance(path, dict) and "peers" not in path:
                text = "must be given, profile wan sends to named peers alone; is missing"
                yield document.at_key((*place, "peers"), text)


def _references(document: Document) -> Iterator[Problem]:
    peers = {peer for _, peer in document.select("heartbeat.paths.*.peers.*", addresses.host)}
    virtual = {address for _, address in _virtual_addresses(document)}
    for place, reference in document.select("heartbeat.paths.*.reference", addresses.host):
        if reference.version != _family(document, place[:3]):
            text = "must be of the same IP version as the path"
            yield document.wrong_value(place, text)
        if reference in virtual:
            text = "must be a third party such as the gateway, is a virtual address that moves"
            yield document.at_value(place, text)
        if reference in peers:
            text = "must be a third party such as the gateway, is one of the peers"
            yield document.at_value(place, text)


def _profiles(document: Document) -> list[Profile]:
    return [found for _, found in document.select("heartbeat.profile", values.choice(Profile))]


def _addresses(document: Document) -> Iterator[Problem]:
    return once(document, _virtual_addresses(document))


def _group_ids(document: Document) -> Iterator[Problem]:
    ids = ((place, group_id(str(place[-1]))) for place, _ in document.find("groups.*"))
    for place, first in repeated(ids):
        text = f"must have another name, has the same id on the network as {first[-1]!r}"
        yield document.at_key(place, text)


def _server_names(document: Document) -> Iterator[Problem]:
    names = document.select(f"{_SERVERS}.name", values.haproxy_name)
    return once(document, ((place, (place[:3], name)) for place, name in names))


def _server_groups(document: Document) -> Iterator[Problem]:
    groups = [str(place[-1]) for place, _ in document.find("groups.*")]
    for place, name in document.select(f"{_SERVERS}.group", values.text):
        if name not in groups:
            text = f"must be a group of this file ({', '.join(groups)})"
            yield document.wrong_value(place, text)
    for place, server in document.find(_SERVERS):
        keys = server if isinstance(server, dict) else {}
        role = keys.get("when", "always")
        if "group" in keys and role == "always":
            text = "must be left out without 'when: master' or 'when: backup', has no effect"
            yield document.at_key((*place, "group"), text)
        if "group" not in keys and role in ("master", "backup") and len(groups) > 1:
            text = f"must be given, 'when' may mean any of {', '.join(groups)}; is missing"
            yield document.at_key((*place, "group"), text)


def _own_node(document: Document, node: str) -> Iterator[Problem]:
    for place, name in document.select(f"{_SERVERS}.of", values.name):
        if name == node:
            text = "must be another node: this one is alive whenever it can ask"
            yield document.wrong_value(place, text)


def _sockets(document: Document) -> Iterator[Problem]:
    ours = dict(document.select("control_socket", values.path))
    default = File.model_fields["control_socket"].default
    for place, theirs in document.select("haproxy.socket", values.path):
        if theirs == ours.get(("control_socket",), default):
            text = "must be HAProxy's own socket, not the control socket of haagent"
            yield document.wrong_value(place, text)


def _virtual_addresses(document: Document) -> Iterator[tuple[Place, IPAddress]]:
    for place, address in document.select("groups.*.addresses.*", addresses.virtual_address):
        yield place, address.ip


def _family(document: Document, path: Place) -> int:
    """Return the IP version of the heartbeat path at ``path``: of its first peer or its group."""
    index = path[-1]
    peers = document.select(f"heartbeat.paths.{index}.peers.*", addresses.host)
    group = document.select(f"heartbeat.paths.{index}.group", addresses.multicast_group)
    return next((address.version for _, address in chain(peers, group)), MULTICAST_IPV4.version)
