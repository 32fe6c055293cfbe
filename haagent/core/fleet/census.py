"""What is shown of the app nodes: counts of each service, and some of the nodes by name.

Counted as things change, because nobody who asks for the status is to wait, or have heartbeats
wait, for a look at ten thousand nodes.
"""

from itertools import chain, islice

from haagent.core.fleet.node import Node, Standing
from haagent.core.fleet.policy import natural
from haagent.core.identity import NodeId
from haagent.core.status import NodesStatus, NodeStatus, ServiceStatus

SHOWN = 100
"""Nodes by name in a status; those in trouble come first."""

_WORDS = ("serving", "unhealthy", "held", "dead", "left")
_ORDER = [Standing.DEAD, Standing.HELD, Standing.ALIVE, Standing.LEFT]


class Census:
    """See the module docstring."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, int]] = {}
        self._counted: dict[NodeId, tuple[tuple[str, str], ...]] = {}
        self._troubled: dict[NodeId, Node] = {}
        self._well: dict[NodeId, Node] = {}

    def count(self, node: Node) -> None:
        """Take in how a node stands, and what it serves, from now on."""
        self._uncount(node)
        parts = [(s.name, _word(node, healthy=s.healthy)) for s in node.services]
        counted = self._counted[node.id] = tuple(parts)
        for service, word in counted:
            tally = self._services.setdefault(service, dict.fromkeys(_WORDS, 0))
            tally[word] += 1
        is_well = all(word in ("serving", "left") for _, word in counted)
        (self._well if is_well else self._troubled)[node.id] = node

    def forget(self, node: Node) -> None:
        """Count a node no more."""
        self._uncount(node)
        self._counted.pop(node.id, None)

    def status(self) -> NodesStatus:
        """Return the counts, and the nodes that are shown."""
        shown = islice(chain(self._troubled.values(), self._well.values()), SHOWN)
        return NodesStatus(
            services=tuple(
                ServiceStatus(name=name, **tally) for name, tally in sorted(self._services.items())
            ),
            total=len(self._counted),
            shown=tuple(_status(node) for node in sorted(shown, key=self._rank)),
        )

    def _uncount(self, node: Node) -> None:
        for service, word in self._counted.get(node.id, ()):
            self._services[service][word] -= 1
            if not any(self._services[service].values()):
                del self._services[service]
        self._troubled.pop(node.id, None)
        self._well.pop(node.id, None)

    def _rank(self, node: Node) -> tuple[int, bool, object]:
        return _ORDER.index(node.standing), node.id not in self._troubled, natural(node.name)


def _word(node: Node, *, healthy: bool) -> str:
    if node.standing is not Standing.ALIVE:
        return str(node.standing.value)
    return "serving" if healthy else "unhealthy"


def _status(node: Node) -> NodeStatus:
    return NodeStatus(
        name=node.name,
        node_class=node.pace.settings.name,
        address=node.address,
        standing=node.standing,
        since=node.since,
        last_heard=node.last_heard,
        interval_ms=node.promised_ms,
        busy_permille=node.busy,
        services=node.services,
    )
