"""``haproxy.file``: what contradicts itself or is missing here, and the settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haagent.config import values
from haagent.config.document import Document
from haagent.config.model import HAProxyFileSection
from haagent.config.problems import Place, Problem
from haagent.core.settings import CHECKED, HAProxyFileSettings

_FILE: Place = ("haproxy", "file")


def file_contradictions(document: Document) -> Iterator[Problem]:
    """Yield what cannot be followed."""
    for place, raw in document.find("haproxy.file.reload"):
        ways = {"master_socket", "systemd"} & (raw.keys() if isinstance(raw, dict) else set())
        if isinstance(raw, dict) and not ways:
            text = "must be given, or 'systemd'; is missing"
            yield document.at_key((*place, "master_socket"), text)
        if len(ways) == 2:
            text = "must be left out where a 'master_socket' is given"
            yield document.at_key((*place, "systemd"), text)
    for place, words in document.find("haproxy.file.check"):
        if isinstance(words, tuple) and words and not any(CHECKED in str(w) for w in words):
            text = f"must have the word '{CHECKED}', which stands for the file to be checked"
            yield document.at_value(place, text)
    paths = dict(document.select("haproxy.file.*", values.path))
    path, template = paths.get((*_FILE, "path")), paths.get((*_FILE, "template"))
    if template is not None and template == path:
        text = "must be another file than 'path', which is made from it"
        yield document.wrong_value((*_FILE, "template"), text)


def file_lacking(document: Document, home: Path) -> Iterator[Problem]:
    """Yield the template that is not here."""
    for place, name in document.select("haproxy.file.template", values.path):
        if not (home / name).is_file():
            yield document.at_value(place, f"there is no file {home / name} here now")


def file_settings(section: HAProxyFileSection | None, home: Path) -> HAProxyFileSettings | None:
    """Return the settings; paths begin at ``home``."""
    if section is None:
        return None
    written: dict[str, Any] = {"path": str(home / section.path)}
    if section.template is not None:
        written["template"] = str(home / section.template)
    if section.check is not None:
        written["check"] = section.check
    if section.reload is not None and section.reload.master_socket is not None:
        written["master_socket"] = str(home / section.reload.master_socket)
    if section.reload is not None:
        written["unit"] = section.reload.systemd
    return HAProxyFileSettings(**written)
