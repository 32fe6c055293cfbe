"""Checks of the file's groups: what contradicts itself, what is doubtful or missing, the settings.

Doubtful is above all a check that says nothing about this server, and one that all agents fail
together, which would leave a group without a master.
"""

import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.hooks import is_user, program_at
from haagent.config.model import CHECK_INTERVALS, CheckSection
from haagent.config.problems import Place, Problem
from haagent.config.rules import one_kind, short_timeouts
from haagent.core.checks import (
    DEFAULT_FALL,
    DEFAULT_INTERVAL,
    CheckSettings,
    CommandCheck,
    Consequence,
    FileCheck,
    HAProxyCheck,
    HTTPCheck,
    PidfileCheck,
    PingCheck,
    ProcessCheck,
    TCPCheck,
    What,
    default_timeout,
)
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs, seconds

_CHECKS = "groups.*.checks.*"

_KINDS: dict[str, frozenset[str]] = {
    "haproxy": frozenset(),
    "tcp": frozenset(),
    "http": frozenset({"status", "host", "verify"}),
    "ping": frozenset(),
    "process": frozenset(),
    "pidfile": frozenset(),
    "file": frozenset(),
    "exec": frozenset({"user"}),
}
"""And the keys that have a meaning with each alone."""

_SLOW = seconds(60)
"""What takes longer to count as failed is asked about."""

_HIDDEN = ("/tmp/", "/var/tmp/", "/home/", "/root/")  # noqa: S108  # nothing is put there
"""By ``PrivateTmp`` and ``ProtectHome`` of the unit."""

_ALWAYS = {"true", ":", "echo"}
_SIGNALS = {"kill", "killall", "pkill"}


def check_contradictions(document: Document) -> Iterator[Problem]:
    """Yield the checks that cannot be made."""
    yield from one_kind(document, _CHECKS, _KINDS)
    yield from short_timeouts(document, _CHECKS, DEFAULT_INTERVAL)
    for place, url in document.select(f"{_CHECKS}.http", addresses.url):
        verify = (*place[:-1], "verify")
        if url.startswith("http://") and any(document.find(".".join(map(str, verify)))):
            yield document.at_key(verify, "must be left out with http, which has no certificate")


def check_doubts(document: Document) -> Iterator[Problem]:
    """Yield the checks that can never cause a failover, or cause the wrong one."""
    yield from _virtual(document)
    yield from _third_parties(document)
    yield from _other_haproxy(document)
    yield from _programs(document)
    yield from _late(document)
    yield from _hidden(document)
    for place, name in document.select(f"{_CHECKS}.process", values.process_name):
        if name == "haproxy":
            text = "lives also while HAProxy hangs: 'haproxy' with its stats socket asks it"
            yield document.at_value(place, text)


def check_lacking(document: Document, home: Path, pattern: str = _CHECKS) -> Iterator[Problem]:
    """Yield the programs and users of the checks at ``pattern`` that are not here."""
    for place, argv in _commands(document, pattern):
        program = program_at(home, argv[0])
        if shutil.which(program) is None:
            text = f"there is no program {program!r} here now that can be executed"
            hint = ": each word must be an entry of its own" if " " in program else ""
            yield document.at_value(place, text + hint)
    for place, user in document.select(f"{pattern}.user", values.text):
        if not is_user(user):
            yield document.at_value(place, f"there is no user {user!r} here now")


def check_settings(name: str, section: CheckSection, home: Path) -> CheckSettings:
    """Return the settings of one check; paths begin at ``home``."""
    written = {key: getattr(section, key) for key in section.model_fields_set}
    common = {
        key: written[key] for key in ("interval", "rise", "fall", "on_fail") if key in written
    }
    interval = section.interval or DEFAULT_INTERVAL
    timeout = section.timeout or default_timeout(interval)
    return CheckSettings(name=name, what=_what(written, home), timeout=timeout, **common)


def _what(written: dict[str, Any], home: Path) -> What:
    kind = next(kind for kind in _KINDS if kind in written)
    value = written[kind]
    match kind:
        case "haproxy":
            return HAProxyCheck(str(home / value))
        case "tcp":
            return TCPCheck(*value)
        case "http":
            keys = {key: written[key] for key in _KINDS["http"] if key in written}
            return HTTPCheck(url=value, **keys)
        case "ping":
            return PingCheck(value)
        case "process":
            return ProcessCheck(value)
        case "pidfile":
            return PidfileCheck(str(home / value))
        case "file":
            return FileCheck(str(home / value))
        case _:
            program, *arguments = value
            argv = (program_at(home, program), *arguments)
            return CommandCheck(argv, written.get("user"))


def _virtual(document: Document) -> Iterator[Problem]:
    virtual = {a.ip for _, a in document.select("groups.*.addresses.*", addresses.virtual_address)}
    for place, address in _targets(document):
        if address in virtual:
            text = (
                f"{address} is a virtual address: the master asks itself, and every other agent "
                "asks the master; name an address of this server"
            )
            yield document.at_value(place, text)


def _third_parties(document: Document) -> Iterator[Problem]:
    """Yield the checks of what all agents see alike, of which each makes them release."""
    servers = document.select("haproxy.backends.*.servers.*.address", addresses.endpoint)
    shared = {endpoint.address for _, endpoint in servers if not endpoint.address.is_loopback}
    for place, address in _targets(document):
        own = _is_own(address)
        if place[-1] == "ping" and own:
            text = f"{address} is an address of this server, which always answers itself"
            yield document.at_value(place, text)
        elif not own and (place[-1] == "ping" or address in shared) and _releases(document, place):
            text = (
                f"when {address} fails, every agent gives the group up and nobody has its "
                "addresses: 'on_fail: demote' moves them only to an agent that is better off"
            )
            yield document.at_value(place, text)


def _releases(document: Document, place: Place) -> bool:
    pattern = ".".join(map(str, (*place[:-1], "on_fail")))
    written = document.select(pattern, values.choice(Consequence))
    return next((choice for _, choice in written), Consequence.RELEASE) is Consequence.RELEASE


def _other_haproxy(document: Document) -> Iterator[Problem]:
    ours = [path for _, path in document.select("haproxy.socket", values.socket_path)]
    for place, path in document.select(f"{_CHECKS}.haproxy", values.socket_path):
        if ours and path not in ours:
            text = f"is another HAProxy than the one whose servers are set, {ours[0]}"
            yield document.at_value(place, text)


def _programs(document: Document) -> Iterator[Problem]:
    for place, argv in _commands(document):
        program = Path(argv[0]).name
        if program in _ALWAYS:
            yield document.at_value(place, f"{program!r} always succeeds, so this never fails")
        if program in _SIGNALS and "-0" in argv:
            text = (
                "may be signalled by its own user and root alone, so for anybody else this always "
                "fails: 'process' needs no permission, and 'haproxy' asks it"
            )
            yield document.at_value(place, text)
    for place, user in document.select(f"{_CHECKS}.user", values.text):
        if user == "root":
            text = "runs as root: whoever may write to that program is root on this server"
            yield document.at_value(place, text)


def _hidden(document: Document) -> Iterator[Problem]:
    for kind in ("haproxy", "pidfile", "file"):
        for place, path in document.select(f"{_CHECKS}.{kind}", values.path):
            if path.startswith(_HIDDEN):
                text = "is not what the service sees: it has a /tmp of its own, and no /home"
                yield document.at_value(place, text)


def _late(document: Document) -> Iterator[Problem]:
    falls = {
        place[:-1]: fall for place, fall in document.select(f"{_CHECKS}.fall", values.whole(1, 100))
    }
    intervals = {
        place[:-1]: interval
        for place, interval in document.select(f"{_CHECKS}.interval", CHECK_INTERVALS)
    }
    for place in falls.keys() | intervals.keys():
        fall = falls.get(place, DEFAULT_FALL)
        length = DurationNs(fall * intervals.get(place, DEFAULT_INTERVAL))
        if length > _SLOW:
            text = f"counts as failed only after {values.shown(length)}: interval x fall"
            yield document.at_key(place, text)


def _targets(document: Document) -> Iterator[tuple[Place, IPAddress]]:
    yield from document.select(f"{_CHECKS}.ping", addresses.host)
    for place, endpoint in document.select(f"{_CHECKS}.tcp", addresses.endpoint):
        yield place, endpoint.address
    for place, url in document.select(f"{_CHECKS}.http", addresses.url):
        yield place, ip_address(urlsplit(url).hostname or "")


def _commands(document: Document, pattern: str = _CHECKS) -> Iterator[tuple[Place, list[str]]]:
    for place, argv in document.find(f"{pattern}.exec"):
        if isinstance(argv, tuple) and argv and all(isinstance(word, str) for word in argv):
            yield place, [*argv]


def _is_own(address: IPAddress) -> bool:
    """Return whether this machine has ``address``: its kernel would send to itself from it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect((str(address), 9))
        return ip_address(asked.getsockname()[0].partition("%")[0]) == address
    return False
