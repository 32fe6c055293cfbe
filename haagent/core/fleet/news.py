"""What is told of app nodes: records for the journal, and the hooks of their class.

What this module does not do: run a hook, or know why something happened.
"""

from haagent.core.actions import Fact, Severity
from haagent.core.fleet.digest import Digest
from haagent.core.fleet.node import Node
from haagent.core.hooks import Hooks
from haagent.core.journal import Journal
from haagent.core.messages import Service
from haagent.core.settings import HookSettings
from haagent.core.units import Moment, MonoNs, between


class NodeNews:
    """See the module docstring."""

    def __init__(self, agent: str, journal: Journal, hooks: Hooks) -> None:
        """``agent``: the name of this one, which hooks are told."""
        self._agent = agent
        self._hooks = hooks
        self._digest = Digest(journal)

    def joined(self, now: Moment, node: Node, *, known_class: bool) -> None:
        """Tell that a node has registered."""
        services = ", ".join(f"{s.name} on port {s.port}" for s in node.services) or "nothing"
        text = f"{node.name} at {node.address} serves {services}"
        if not known_class:
            text += f"; its class is not in the file, and {node.pace.settings.name} applies"
        self._digest.record(now, "node.joined", node.name, text)

    def restarted(self, now: Moment, node: Node) -> None:
        """Tell that another boot has taken the place of a living one."""
        self._digest.record(now, "node.joined", node.name, f"{node.name} has restarted")

    def left(self, now: Moment, node: Node) -> None:
        """Tell that a node has said goodbye."""
        self._digest.record(now, "node.left", node.name, f"{node.name} left")

    def died(self, now: Moment, node: Node) -> None:
        """Tell that a node is believed to be dead."""
        silent_ms = between(node.last_heard, now.mono) // 1_000_000
        text = f"{node.name} has been silent for {silent_ms} ms"
        self._digest.record(now, "node.dead", node.name, text, Severity.WARNING)
        node.mourned = True
        self._run(node, "on_dead", "dead", node.pace.settings.on_dead)

    def returned(self, now: Moment, node: Node) -> None:
        """Tell that a node that was dead is back."""
        gone_s = between(node.since, now.mono) // 1_000_000_000
        text = f"{node.name} is back after {gone_s} s"
        self._digest.record(now, "node.back", node.name, text)
        node.mourned = False
        self._run(node, "on_back", "back", node.pace.settings.on_back)

    def serves(self, now: Moment, node: Node, before: tuple[Service, ...]) -> None:
        """Tell which services of a living node have become unhealthy, or well again."""
        was = {service.name: service.healthy for service in before}
        for service in node.services:
            healthy = was.get(service.name, True)
            subject = f"{service.name} on {node.name}"
            if healthy and not service.healthy:
                text = f"{subject} is unhealthy, says the node's own check"
                self._digest.record(now, "node.unhealthy", subject, text, Severity.WARNING)
            elif service.healthy and not healthy:
                self._digest.record(now, "node.healthy", subject, f"{subject} is well again")

    def tick(self, now: Moment) -> None:
        """Write the summaries that are due."""
        self._digest.tick(now)

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        return self._digest.deadline()

    def _run(self, node: Node, kind: str, event: str, hook: HookSettings | None) -> None:
        facts: tuple[Fact, ...] = (
            ("event", event),
            ("node", node.name),
            ("address", str(node.address)),
            ("services", tuple(service.name for service in node.services)),
            ("class", node.pace.settings.name),
            ("agent", self._agent),
        )
        self._hooks.run(f"node {node.name}", kind, hook, facts)
