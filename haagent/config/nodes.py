"""App nodes in the agent's file: what contradicts itself, what is doubtful, and the settings.

A class takes its pace from a profile, and what the file says beside it goes before that.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from haagent.config import values
from haagent.config.document import Document
from haagent.config.hooks import hook_settings
from haagent.config.model import (
    JITTERS,
    NODE_INTERVALS,
    TIMEOUTS,
    BackendSection,
    File,
    NodeClassSection,
)
from haagent.config.problems import Place, Problem, dotted
from haagent.config.rules import once
from haagent.config.values import NodePace, NodeProfile
from haagent.core.settings import (
    DEFAULT_PORT,
    NodeClassSettings,
    NodeServersSettings,
    NodesSettings,
)
from haagent.core.units import DurationNs

DEFAULT = "default"
"""The class of nodes that name none, or one that the file has not."""

_CLASSES = "nodes.classes.*"
_BACKENDS = "haproxy.backends.*"
_PORT = values.whole(1, 65_535)


def node_contradictions(document: Document) -> Iterator[Problem]:
    """Yield what keeps app nodes from being heard, or judges them wrongly."""
    yield from once(document, document.select("nodes.interfaces.*", values.interface))
    wanted = any(chain(document.find("nodes"), document.find(f"{_BACKENDS}.nodes")))
    ports = {("heartbeat", "port"): DEFAULT_PORT, ("nodes", "port"): NodesSettings().port}
    written = dict(chain(*(document.select(dotted(place), _PORT) for place in ports)))
    if wanted and len(set((ports | written).values())) == 1:
        # The defaults differ, so at least one is written; and neither follows the other.
        text = "must differ from the other port: agents and app nodes have sockets of their own"
        yield document.wrong_value([*written][-1], text)
    for place, _ in document.find(_CLASSES):
        yield from _pace_problems(document, place)
    for place, backend in document.find(_BACKENDS):
        if isinstance(backend, dict) and not {"servers", "nodes"} & backend.keys():
            text = "must be given, or 'nodes'; is missing"
            yield document.at_key((*place, "servers"), text)


def node_doubts(document: Document) -> Iterator[Problem]:
    """Yield what works, but seldom as meant."""
    backends = [place for place, _ in document.find(f"{_BACKENDS}.nodes")]
    if backends and not any(document.find("heartbeat.paths.*.reference")):
        text = (
            "no path has a 'reference': when many app nodes die at once nobody can tell that from "
            "a fault of this server, and they stay in the backend"
        )
        yield document.at_key(backends[0], text)
    if not backends:
        for place, _ in document.find("nodes"):
            yield document.at_key(place, "no backend of this file has 'nodes', so none is used")


def nodes_settings(file: File, home: Path) -> NodesSettings | None:
    """Return how app nodes are heard; None where the file has nothing of them."""
    backends = file.haproxy.backends.values() if file.haproxy else ()
    if file.nodes is None:
        return NodesSettings() if any(backend.nodes for backend in backends) else None
    written = file.nodes.written()
    classes = written.pop("classes", {})
    ordered = {DEFAULT: NodeClassSection()} | classes
    settings = tuple(_class(name, section, home) for name, section in ordered.items())
    return NodesSettings(**written, classes=settings)


def node_servers(backend: BackendSection) -> NodeServersSettings | None:
    """Return which app nodes are servers of a backend."""
    return None if backend.nodes is None else NodeServersSettings(**backend.nodes.written())


def _class(name: str, section: NodeClassSection, home: Path) -> NodeClassSettings:
    written: dict[str, Any] = section.written()
    pace = values.node_pace(
        written.pop("profile", NodeProfile.LAN),
        written.get("interval"),
        written.get("jitter"),
        written.get("timeout"),
    )
    for kind in ("on_dead", "on_back"):
        written[kind] = hook_settings(written.get(kind), home)
    return NodeClassSettings(**written | pace._asdict() | {"name": name})


def _pace_problems(document: Document, place: Place) -> Iterator[Problem]:
    pace = _pace(document, place)
    interval, jitter = values.shown(pace.interval), values.shown(pace.jitter)
    if 2 * pace.jitter > pace.interval:
        text = f"must be at most half the interval of {interval}"
        yield document.wrong_value((*place, "jitter"), text)
        return
    least = DurationNs(2 * pace.interval + pace.jitter)
    if pace.timeout < least:
        text = (
            f"must be at least {values.shown(least)}, two intervals of {interval} and the jitter "
            f"of {jitter}, or one heartbeat that is lost is a death"
        )
        yield document.wrong_value((*place, "timeout"), text)


def _pace(document: Document, place: Place) -> NodePace:
    """Return the pace of the class at ``place``, by what is right in itself."""
    at = dotted(place)
    profiles = document.select(f"{at}.profile", values.choice(NodeProfile))
    lengths = [
        next((length for _, length in document.select(f"{at}.{key}", parse)), None)
        for key, parse in (
            ("interval", NODE_INTERVALS),
            ("jitter", JITTERS),
            ("timeout", TIMEOUTS),
        )
    ]
    profile = next((profile for _, profile in profiles), NodeProfile.LAN)
    return values.node_pace(profile, *lengths)
