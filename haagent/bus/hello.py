"""Who is at the other end of the peer bus: what a certificate, a hello and heartbeats agree on.

What this module does not do: judge a certificate, which TLS does.
"""

from haagent.control.haagent_pb2 import BusHello
from haagent.core.identity import BootId, NodeId
from haagent.core.status import PeerStatus


def certificate_name(node: NodeId) -> str:
    """Return the name in the certificate of ``node``: its name may be none of a host's."""
    return f"{node:016x}.haagent"


def hello(cluster: str, node: str, identity: NodeId, boot: BootId, epoch: int) -> BusHello:
    """Return what an agent says first."""
    return BusHello(
        cluster=cluster,
        node=node,
        node_id=f"{identity:016x}",
        boot_id=f"{boot:016x}",
        epoch=epoch,
    )


def difference(said: BusHello, heard: PeerStatus, cluster: str) -> str:
    """Return in what a hello is not that of the peer that heartbeats tell of; empty if nothing."""
    if said.cluster != cluster:
        return f"is of cluster {said.cluster!r}, not {cluster!r}"
    expected = hello(cluster, heard.name, heard.node, heard.boot, said.epoch)
    if (said.node, said.node_id) != (expected.node, expected.node_id):
        return f"is {said.node!r}, not {heard.name!r}"
    if said.boot_id != expected.boot_id:
        return "is of another boot than its heartbeats"
    return ""
