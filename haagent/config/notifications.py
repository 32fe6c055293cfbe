"""Notifications of the file: what is missing here, and the settings."""

import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from haagent.config import values
from haagent.config.document import Document
from haagent.config.model import NotificationSection
from haagent.config.problems import Problem
from haagent.config.rules import once
from haagent.core.notices import NotificationSettings


def notification_contradictions(document: Document) -> Iterator[Problem]:
    """Yield the entries that would tell the same people twice."""
    return once(document, document.select("notifications.*.urls_file", values.path))


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
