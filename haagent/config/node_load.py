"""From an app node's file to its settings, as ``haagent.config.load`` does for an agent's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from haagent.config.document import Document, read
from haagent.config.explain import explain
from haagent.config.group_checks import check_lacking
from haagent.config.hooks import program_at
from haagent.config.key import KeyFileError, read_node_key
from haagent.config.node_model import NodeFile, ServiceCheckSection, ServiceSection
from haagent.config.node_rules import CHECKS, contradictions, doubts
from haagent.config.problems import ConfigurationError, Problem, in_file_order
from haagent.config.rules import absent_interfaces, node_name
from haagent.core.appnode.settings import (
    DEFAULT_CHECK_INTERVAL,
    NodePathSettings,
    NodeSettings,
    ServiceSettings,
)
from haagent.core.checks import (
    CheckSettings,
    CommandCheck,
    HTTPCheck,
    TCPCheck,
    default_timeout,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNode:
    """A file that was accepted."""

    settings: NodeSettings
    key_file: Path
    doubts: tuple[Problem, ...]
    """What works but seldom as meant."""
    lacking: tuple[Problem, ...]
    """What this machine lacks to run it now: the key, an interface."""

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return in_file_order((*self.doubts, *self.lacking))


def load_node(path: Path) -> LoadedNode:
    """Return the configuration of an app node in the file at ``path``.

    Paths in the file are relative to its directory.  Nothing on this machine need be
    there but the file.

    Raises: ConfigurationError with every problem of the file.
    """
    document = read(path)
    file = _validate(document)
    home = path.absolute().parent
    return LoadedNode(
        settings=_settings(file, home),
        key_file=home / file.key_file,
        doubts=tuple(doubts(document)),
        lacking=tuple(_lacking(document, file, home)),
    )


def is_of_a_node(path: Path) -> bool:
    """Return whether the file at ``path`` is meant for an app node, and not for an agent.

    Raises: ConfigurationError when it cannot be read or is not YAML.
    """
    data = read(path).data
    return isinstance(data, dict) and "services" in data and "groups" not in data


def _validate(document: Document) -> NodeFile:
    node = node_name(document)
    problems = [*document.problems, *contradictions(document, node)]
    try:
        file = NodeFile.model_validate(document.data)
    except ValidationError as error:
        raise ConfigurationError((*problems, *explain(document, error, NodeFile))) from None
    if problems:
        raise ConfigurationError(tuple(problems))
    return file.model_copy(update={"node": node})


def _lacking(document: Document, file: NodeFile, home: Path) -> Iterator[Problem]:
    """Yield what the node would miss or wait for if it started here and now."""
    try:
        read_node_key(home / file.key_file, file.cluster, str(file.node))
    except KeyFileError as error:
        yield document.at_value(("key_file",), str(error))
    yield from absent_interfaces(document, "heartbeat.paths.*.interface")
    yield from check_lacking(document, home, CHECKS)


def _settings(file: NodeFile, home: Path) -> NodeSettings:
    heartbeat = file.heartbeat.written()
    heartbeat["paths"] = tuple(NodePathSettings(**path.written()) for path in file.heartbeat.paths)
    mine: dict[str, Any] = {"node_class": file.class_, "address": file.address}
    return NodeSettings(
        node=str(file.node),
        cluster=file.cluster,
        services=tuple(_service(name, section, home) for name, section in file.services.items()),
        **heartbeat,
        **{key: value for key, value in mine.items() if value is not None},
    )


def _service(name: str, section: ServiceSection, home: Path) -> ServiceSettings:
    keys = section.written() | {"name": name}
    if section.check:
        keys["check"] = _check(name, section.check, home)
    return ServiceSettings(**keys)


def _check(name: str, section: ServiceCheckSection, home: Path) -> CheckSettings:
    keys = section.written()
    for kind in ("tcp", "http", "exec", "user"):
        keys.pop(kind, None)
    interval = keys.setdefault("interval", DEFAULT_CHECK_INTERVAL)
    keys.setdefault("timeout", default_timeout(interval))
    return CheckSettings(name=name, what=_what(section, home), **keys)


def _what(section: ServiceCheckSection, home: Path) -> TCPCheck | HTTPCheck | CommandCheck:
    if section.tcp:
        return TCPCheck(*section.tcp)
    if section.http:
        return HTTPCheck(url=section.http)
    assert section.exec is not None, "there is one of them"
    program, *arguments = section.exec
    return CommandCheck((program_at(home, program), *arguments), section.user)
