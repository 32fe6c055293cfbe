"""``haagent check`` of an app node's file: what follows from it."""

from collections.abc import Iterator

from haagent.config import LoadedNode
from haagent.config.values import shown
from haagent.core.appnode.settings import NodeSettings
from haagent.core.checks import CheckSettings


def facts(loaded: LoadedNode) -> Iterator[tuple[str, str]]:
    """Yield what is to be said, each with its label."""
    settings = loaded.settings
    yield "node", f"{settings.node} of cluster {settings.cluster}, class {settings.node_class}"
    yield from _paths(settings)
    for service in settings.services:
        address = settings.address or f"the address on {settings.paths[0].interface}"
        yield (
            "service",
            f"{service.name}: port {service.port} of {address}, weight {service.weight}",
        )
        yield from _check(service.check)
    yield "heartbeat", f"every {shown(settings.interval)}, until an agent dictates another pace"


def _paths(settings: NodeSettings) -> Iterator[tuple[str, str]]:
    for path in settings.paths:
        reach = f"multicast {path.group}"
        if path.agents:
            reach = f"unicast to {', '.join(map(str, path.agents))}"
        yield "path", f"{path.interface}, {reach}, UDP port {settings.port}"


def _check(check: CheckSettings | None) -> Iterator[tuple[str, str]]:
    if check is None:
        yield "", "not checked: healthy while this node lives"
        return
    yield "", f"{check.what} every {shown(check.interval)}, {shown(check.timeout)} at most"
    after = f"unhealthy after {check.fall} failures, {shown(check.detection)} at most"
    yield "", f"{after}; healthy again after {check.rise} that pass"
