"""The kinds of records and alarms that there are; docs/operations.md explains each."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

KINDS = (
    "address.conflict",
    "address.removed",
    "address.unannounced",
    "address.unclaimed",
    "address.unreleased",
    "agent.isolated",
    "agent.maintenance",
    "agent.paused",
    "agent.stalled",
    "backend.clash",
    "backend.none",
    "check.failing",
    "claim.waits",
    "clock.skew",
    "config.applied",
    "config.differs",
    "config.rejected",
    "events.damaged",
    "events.lost",
    "events.unwritable",
    "failover.asked",
    "fence.failed",
    "group.held",
    "haproxy.file",
    "haproxy.trouble",
    "haproxy.written",
    "hook.done",
    "hook.failed",
    "link.asymmetric",
    "link.down",
    "master.changed",
    "node.back",
    "node.dead",
    "node.duplicate",
    "node.healthy",
    "node.joined",
    "node.left",
    "node.unhealthy",
    "nodes.missed",
    "nodes.vanished",
    "notify.failing",
    "path.down",
    "path.multicast",
    "peer.alive",
    "peer.dead",
    "peer.left",
    "peer.refused",
    "role.changed",
    "state.unwritable",
)


def matching(pattern: str) -> Iterator[str]:
    """Yield the kinds that ``pattern`` means: ``peer.dead``, ``peer.*``, ``*.cleared``."""
    for kind in KINDS:
        # The end of an alarm has a record as well.
        for each in (kind, f"{kind}.cleared"):
            if fnmatchcase(each, pattern):
                yield each
