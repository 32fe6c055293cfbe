"""What the file as it is now would change in a running agent, and whether it may.

Everything is found out before anything is done: a file that is refused has changed nothing.

What this module does not do: take the changes in (``haagent.runtime.wiring``).
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from haagent.config import ConfigurationError, Loaded, load, read_key
from haagent.core.group import news
from haagent.core.identity import group_id
from haagent.core.settings import AgentSettings, HAProxyFileSettings, IPAddress


class Outcome(Enum):
    """How a reload ended."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    """The file is good, but this agent cannot follow it."""
    INVALID = "invalid"
    """The file, or what it names, cannot be used."""


class RefusedError(Exception):
    """A running agent cannot follow the file; the text says why."""


def examine(config: Path, running: Loaded, key: bytes, held: Mapping[IPAddress, str]) -> Loaded:
    """Return the file at ``config`` as it is now, fit to be taken in.

    ``held``: the group of each virtual address that the agent has yet, also of those that it is
    about to leave.  Reads files and asks the kernel: not for the loop.

    Raises: ConfigurationError with every problem, RefusedError.
    """
    loaded = load(config)
    if loaded.lacking:
        raise ConfigurationError(loaded.lacking)
    keys = [*takes_restart(running, loaded)]
    if read_key(loaded.key_file) != key:
        keys.append("the content of key_file")
    if keys:
        msg = f"{config}: takes a restart: {', '.join(keys)}"
        raise RefusedError(msg)
    if mixed := [*_mixed(loaded.settings, held)]:
        raise RefusedError("\n".join(f"{config}: {text}" for text in mixed))
    return loaded


def takes_restart(old: Loaded, new: Loaded) -> list[str]:
    """Return the keys whose change a running agent cannot follow, in file order."""
    return [name for name, before, after in _fixed(old, new) if before != after]


def names_of(settings: AgentSettings) -> frozenset[str]:
    """Return the names of all groups."""
    return frozenset(group.name for group in settings.groups)


def changes(old: Loaded, new: Loaded) -> list[str]:
    """Return what ``new`` changes, a line each; nothing when there is nothing to do."""
    before = {group.name: group for group in old.settings.groups}
    after = {group.name: group for group in new.settings.groups}
    lines = [f"group {name}: left" for name in before if name not in after]
    for name, group in after.items():
        if name not in before:
            lines.append(f"group {name}: entered")
        elif group != before[name]:
            lines.append(f"group {name}: {news(before[name], group)}")
    if new.settings.haproxy != old.settings.haproxy:
        lines.append("HAProxy servers as the file has them")
    if new.settings.nodes != old.settings.nodes:
        lines.append("app nodes as the file has them")
    if new.notifications != old.notifications:
        lines.append("notifications as the file has them")
    if new.http != old.http:
        lines.append(f"http: listens on {', '.join(map(str, new.http)) or 'nothing'}")
    if new.login != old.login:
        lines.append(f"http: {new.login.user if new.login else 'nobody'} may log in and steer")
    return lines


def _fixed(old: Loaded, new: Loaded) -> Iterator[tuple[str, object, object]]:
    before, after = old.settings, new.settings
    yield "node", before.node, after.node
    yield "cluster", before.cluster, after.cluster
    yield "key_file", old.key_file, new.key_file
    yield "state_dir", old.state_dir, new.state_dir
    yield "control_socket", old.control_socket, new.control_socket
    yield "heartbeat", before.heartbeat, after.heartbeat
    yield "fence", before.fence, after.fence
    yield "bus", old.bus_port, new.bus_port
    yield "haproxy.socket", _socket(before), _socket(after)
    yield "haproxy.file", _file(before), _file(after)


def _mixed(settings: AgentSettings, held: Mapping[IPAddress, str]) -> Iterator[str]:
    """Yield what would have two groups release and claim the same, in no certain order."""
    names = {group_id(name): name for name in held.values()}
    for group in settings.groups:
        for address in group.addresses:
            if held.get(address.ip, group.name) != group.name:
                yield (
                    f"groups.{group.name}.addresses: {address.ip} is in group "
                    f"{held[address.ip]}: take it out there by a reload of its own"
                )
        if names.get(group.id, group.name) != group.name:
            yield (
                f"groups.{group.name}: has the same id on the network as group "
                f"{names[group.id]}: take that one out by a reload of its own"
            )


def _socket(settings: AgentSettings) -> str | None:
    return None if settings.haproxy is None else settings.haproxy.socket


def _file(settings: AgentSettings) -> HAProxyFileSettings | None:
    return None if settings.haproxy is None else settings.haproxy.file
