"""Notifications of the file: what seems wrong, what is missing here, and the settings."""

import stat
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from haagent.config import values
from haagent.config.document import Document
from haagent.config.model import NotificationSection
from haagent.config.problems import Problem
from haagent.config.rules import once
from haagent.core.kinds import KINDS, matching
from haagent.core.notices import NotificationSettings


def notification_contradictions(document: Document) -> Iterator[Problem]:
    """Yield the entries that would tell the same people twice."""
    return once(document, document.select("notifications.*.urls_file", values.path))


def notification_doubts(document: Document) -> Iterator[Problem]:
    """Yield the kinds that no record has."""
    areas = {f"{kind.partition('.')[0]}.*" for kind in KINDS}
    for place, pattern in document.select("notifications.*.kinds.*", values.kind_pattern):
        if not any(matching(pattern)):
            near = get_close_matches(pattern, [*sorted(areas), *KINDS], n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            yield document.at_value(place, f"no record is of kind {pattern!r}{hint}")


def notification_lacking(document: Document, home: Path) -> Iterator[Problem]:
    """Yield what keeps notifications from being sent here."""
    for place, name in document.select("notifications.*.urls_file", values.path):
        file = home / name
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError as error:
            yield document.at_value(place, f"{file}: cannot be read: {error.strerror}")
            continue
        if mode & 0o077:
            text = f"{file}: others may use it (mode {mode:04o}): chmod 600 {file}"
            yield document.at_value(place, text)
    if any(document.find("notifications.*")) and find_spec("apprise") is None:
        text = "apprise is not installed: pip install 'haagent[notify]'; nobody will be told"
        yield document.at_key(("notifications",), text)


def notification_settings(section: NotificationSection, home: Path) -> NotificationSettings:
    """Return the settings of one entry."""
    written = {key: getattr(section, key) for key in section.model_fields_set}
    return NotificationSettings(**written | {"urls_file": str(home / section.urls_file)})
