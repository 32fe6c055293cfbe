"""Hooks of the file: what contradicts itself, what is doubtful or missing, and the settings.

A hook is the path of a program, or a mapping with a ``command`` or a ``url``.
"""

import os
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from haagent.config import values
from haagent.config.document import Document
from haagent.config.model import BeforeClaimSection, HookSection, HooksSection
from haagent.config.problems import Place, Problem
from haagent.core.settings import BeforeClaim, GroupHooks, HookSettings
from haagent.core.units import seconds

PATTERNS = ("groups.*.hooks.*", "nodes.classes.*.on_dead", "nodes.classes.*.on_back")
"""Where hooks stand in the file."""

_LONG_WAIT = seconds(5)
"""A ``before_claim`` that may hold up a takeover for longer than this is asked about."""


def hook_contradictions(document: Document) -> Iterator[Problem]:
    """Yield the hooks that say nothing or too much."""
    for place, hook in _mappings(document):
        keys = hook.keys() & {"command", "url"}
        blocking = place[-1] == "before_claim"
        if not keys and not blocking:
            yield document.at_key((*place, "command"), "must be given, or 'url'; is missing")
        if len(keys) == 2 and not blocking:
            text = "must be left out where a 'command' is given"
            yield document.at_key((*place, "url"), text)
        if keys == {"url"} and "user" in hook:
            text = "must be left out with 'url', nothing is run"
            yield document.at_key((*place, "user"), text)


def hook_doubts(document: Document) -> Iterator[Problem]:
    """Yield the hooks that work, but seldom as meant."""
    for place, hook in _mappings(document):
        if hook.get("user") == "root":
            text = "runs as root: whoever may write to that program is root on this server"
            yield document.at_value((*place, "user"), text)
    limit = values.duration(_LONG_WAIT, seconds(600))
    for place, _ in document.select("groups.*.hooks.before_claim.timeout", limit):
        text = "as long as this nobody may have the addresses, at each takeover and handover"
        yield document.at_value(place, text)


def hook_lacking(document: Document, home: Path) -> Iterator[Problem]:
    """Yield the programs and users that are not here."""
    for pattern in PATTERNS:
        for place, raw in document.find(pattern):
            hook = values.hook(raw) if isinstance(raw, str | dict) else {}
            yield from _missing_program(document, place, hook, home)
    for place, hook in _mappings(document):
        user = hook.get("user")
        if isinstance(user, str) and not is_user(user):
            yield document.at_value((*place, "user"), f"there is no user {user!r} here now")


def group_hooks(section: HooksSection | None, home: Path) -> GroupHooks:
    """Return the settings of a group's hooks."""
    if section is None:
        return GroupHooks()
    hooks = {each.name: getattr(section, each.name) for each in fields(GroupHooks)}
    before = hooks.pop("before_claim")
    return GroupHooks(
        **{name: hook_settings(hook, home) for name, hook in hooks.items()},
        before_claim=None if before is None else BeforeClaim(**_written(before, home)),
    )


def hook_settings(section: HookSection | None, home: Path) -> HookSettings | None:
    """Return the settings of one hook; its program's path begins at ``home``."""
    return None if section is None else HookSettings(**_written(section, home))


def _written(section: HookSection | BeforeClaimSection, home: Path) -> dict[str, Any]:
    written = {key: getattr(section, key) for key in section.model_fields_set}
    if "command" in written:
        program, *arguments = written["command"]
        written["command"] = (program_at(home, program), *arguments)
    return written


def program_at(home: Path, program: str) -> str:
    return str(home / program) if "/" in program else program


def _mappings(document: Document) -> Iterator[tuple[Place, dict[str, Any]]]:
    for pattern in PATTERNS:
        for place, hook in document.find(pattern):
            if isinstance(hook, dict):
                yield place, hook


def _missing_program(document: Document, place: Place, hook: Any, home: Path) -> Iterator[Problem]:
    command = hook.get("command") if isinstance(hook, dict) else None
    if not isinstance(command, tuple) or not command or not isinstance(command[0], str):
        return
    program = program_at(home, command[0])
    written = document.value(place)
    at = (*place, "command") if isinstance(written, dict) else place
    if "/" not in program:
        if shutil.which(program) is None:
            yield document.at_value(at, f"there is no program {program!r} here now")
    elif not Path(program).is_file():
        yield document.at_value(at, f"there is no program {program} here now")
    elif "user" not in hook and not os.access(program, os.X_OK):
        yield document.at_value(at, f"{program} is not executable: chmod +x {program}")


def is_user(name: str) -> bool:
    """Return whether this machine knows ``name``."""
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True
