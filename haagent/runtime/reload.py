"""What a changed configuration takes: nothing, a step of the core, or a restart."""

from collections.abc import Iterator

from haagent.config import Loaded
from haagent.core.settings import AgentSettings


def takes_restart(old: Loaded, new: Loaded) -> list[str]:
    """Return the keys whose change a running agent cannot follow, in file order."""
    return [name for name, before, after in _fixed(old, new) if before != after]


def _fixed(old: Loaded, new: Loaded) -> Iterator[tuple[str, object, object]]:
    before, after = old.settings, new.settings
    yield "node", before.node, after.node
    yield "cluster", before.cluster, after.cluster
    yield "key_file", old.key_file, new.key_file
    yield "state_dir", old.state_dir, new.state_dir
    yield "control_socket", old.control_socket, new.control_socket
    yield "heartbeat", before.heartbeat, after.heartbeat
    yield "groups", _places(before), _places(after)
    yield "fence", before.fence, after.fence
    yield "haproxy.socket", _socket(before), _socket(after)


def _places(settings: AgentSettings) -> list[tuple[object, ...]]:
    """Return the groups without priority and preemption, which may change while they run."""
    return sorted((group.name, group.interface, group.addresses) for group in settings.groups)


def _socket(settings: AgentSettings) -> str | None:
    return None if settings.haproxy is None else settings.haproxy.socket
