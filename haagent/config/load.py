"""From the file to the settings of the core: read, validate, compare, convert."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from haagent.config import values
from haagent.config.addresses import Endpoint
from haagent.config.checks import contradictions, doubts
from haagent.config.document import Document, read
from haagent.config.explain import explain
from haagent.config.group_checks import check_lacking, check_settings
from haagent.config.haproxy_file import file_lacking, file_settings
from haagent.config.hooks import group_hooks, hook_lacking
from haagent.config.key import KeyFileError, read_key
from haagent.config.login import Login, login, login_lacking
from haagent.config.model import (
    File,
    GroupSection,
    HAProxySection,
    HeartbeatSection,
    Section,
    ServerSection,
)
from haagent.config.nodes import node_servers, nodes_settings
from haagent.config.notifications import notification_lacking, notification_settings
from haagent.config.problems import ConfigurationError, Problem, in_file_order
from haagent.config.rules import absent_interfaces, node_name
from haagent.core.identity import GroupId, Priority, group_id
from haagent.core.notices import NotificationSettings
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    FenceLevel,
    GroupSettings,
    HAProxySettings,
    HeartbeatSettings,
    PathSettings,
    ServerSettings,
    When,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A file that was accepted."""

    settings: AgentSettings
    profile: values.Profile
    """That the heartbeat's settings come from."""
    digest: str
    """SHA-256 of the file's text: equal only where nothing was changed."""
    key_file: Path
    state_dir: Path
    control_socket: Path
    notifications: tuple[NotificationSettings, ...] = ()
    http: tuple[Endpoint, ...]
    """Where metrics and the like are served; empty: nowhere."""
    login: Login | None = None
    """Who may steer there; None: nobody, and there is no way to."""
    bus_port: int | None
    """Of TCP, for the peer bus; None: there is none."""
    doubts: tuple[Problem, ...]
    """What works but seldom as meant."""
    lacking: tuple[Problem, ...]
    """What this machine lacks to run it now: the key, an interface."""

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return in_file_order((*self.doubts, *self.lacking))


def load(path: Path) -> Loaded:
    """Return the configuration in the file at ``path``.

    Paths in the file are relative to its directory.  Nothing on this machine need be
    there but the file: no interface, no key, no privilege.

    Raises: ConfigurationError with every problem of the file.
    """
    document = read(path)
    file = _validate(document)
    home = path.absolute().parent
    key_file = home / file.key_file
    return Loaded(
        settings=_settings(file, home),
        profile=file.heartbeat.profile,
        digest=document.digest,
        key_file=key_file,
        state_dir=home / file.state_dir,
        control_socket=home / file.control_socket,
        notifications=tuple(
            notification_settings(section, home) for section in file.notifications or ()
        ),
        http=file.http.listen if file.http else (),
        bus_port=file.bus.port if file.bus.enabled else None,
        login=login(file.http, home),
        doubts=tuple(doubts(document)),
        lacking=(
            *_lacking(document, key_file),
            *check_lacking(document, home),
            *hook_lacking(document, home),
            *file_lacking(document, home),
            *notification_lacking(document, home),
            *login_lacking(document, home),
        ),
    )


def _validate(document: Document) -> File:
    node = node_name(document)
    problems = [*document.problems, *contradictions(document, node)]
    try:
        file = File.model_validate(document.data)
    except ValidationError as error:
        raise ConfigurationError((*problems, *explain(document, error, File))) from None
    if problems:
        raise ConfigurationError(tuple(problems))
    return file.model_copy(update={"node": node})


def _lacking(document: Document, key_file: Path) -> Iterator[Problem]:
    """Yield what the agent would miss or wait for if it started here and now."""
    try:
        read_key(key_file)
    except KeyFileError as error:
        yield document.at_value(("key_file",), str(error))
    yield from absent_interfaces(
        document, "heartbeat.paths.*.interface", "groups.*.interface", "nodes.interfaces.*"
    )


def _settings(file: File, home: Path) -> AgentSettings:
    return AgentSettings(
        node=str(file.node),
        cluster=file.cluster,
        heartbeat=_heartbeat(file.heartbeat),
        groups=tuple(_group(name, section, home) for name, section in file.groups.items()),
        haproxy=_haproxy(file, file.haproxy, home) if file.haproxy else None,
        nodes=nodes_settings(file, home),
        fence=file.fence.require if file.fence else FenceLevel.LIFETIME,
    )


def _heartbeat(section: HeartbeatSection) -> HeartbeatSettings:
    paths = tuple(PathSettings(**_written(path)) for path in section.paths)
    written = _written(section) | {"paths": paths, "detection": section.profile.detection}
    written.pop("profile", None)
    return HeartbeatSettings(**{"interval": section.profile.interval} | written)


def _group(name: str, section: GroupSection, home: Path) -> GroupSettings:
    written = _written(section) | {"name": name, "priority": Priority(section.priority)}
    written["hooks"] = group_hooks(section.hooks, home)
    checks = section.checks or {}
    written["checks"] = tuple(check_settings(key, each, home) for key, each in checks.items())
    if section.preempt:
        written["preempt"] = section.preempt.when
    if section.preempt and section.preempt.delay:
        written["preempt_after"] = section.preempt.delay
    return GroupSettings(**written)


def _haproxy(file: File, section: HAProxySection, home: Path) -> HAProxySettings:
    backends = tuple(
        BackendSettings(
            name=name,
            servers=tuple(_server(file, server) for server in backend.servers or ()),
            nodes=node_servers(backend),
        )
        for name, backend in section.backends.items()
    )
    return HAProxySettings(
        socket=str(home / section.socket),
        backends=backends,
        file=file_settings(section.file, home),
    )


def _server(file: File, section: ServerSection) -> ServerSettings:
    address, port = section.address
    written = _written(section) | {"address": address, "port": port}
    return ServerSettings(**written | {"group": _group_meant(file, section)})


def _group_meant(file: File, section: ServerSection) -> GroupId | None:
    """Return the group whose role the server depends on; the only one need not be named."""
    if section.when in (None, When.ALWAYS):
        return None
    return group_id(section.group or next(iter(file.groups)))


def _written(section: Section) -> dict[str, Any]:
    return section.written()
