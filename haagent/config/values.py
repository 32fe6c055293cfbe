"""The single values of the file: each function takes what YAML gave and returns the value.

All raise ValueError, whose text says what the value must be and is followed by what it is:
``must be 1..254, is 300``.  None of them looks at the machine or at another value.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from haagent.core.actions import Severity
from haagent.core.identity import is_name
from haagent.core.notices import Rate
from haagent.core.settings import Detection, Preempt
from haagent.core.units import DurationNs, milliseconds, seconds

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

_UNITS = {"h": seconds(3600), "m": seconds(60), "s": seconds(1), "ms": milliseconds(1)}
_HAPROXY_NAME = re.compile(r"[A-Za-z0-9._:-]{1,127}")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]{0,200}\.service")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_KIND_PATTERN = re.compile(r"[a-z.*?]{1,64}")
_INTERFACE = re.compile(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}")

SOCKET_PATH_BYTES = 107
"""What ``sun_path`` holds (unix(7)), less its final zero."""


class Preemption(NamedTuple):
    """When a better agent takes over, and after which delay when that is a matter of time."""

    when: Preempt
    delay: DurationNs | None = None


class NodePace(NamedTuple):
    """How often app nodes of a class speak, and what silence makes one dead."""

    interval: DurationNs
    jitter: DurationNs
    timeout: DurationNs


class NodeProfile(Enum):
    """A pace of app nodes: how often they speak, and when one is dead."""

    LAN = "lan"
    """(k+1) T + J (protocol.md 7.1) with T = 1 s, J = 100 ms and k = 2."""
    DEAD_AFTER_5S = "1s-5s"
    EACH_2S = "2s-5s"
    EACH_5S = "5s-13s"
    """The last three as operators know them from elsewhere."""

    @property
    def pace(self) -> NodePace:
        return _PACES[self]


_PACES = {
    NodeProfile.LAN: NodePace(seconds(1), milliseconds(100), milliseconds(3100)),
    NodeProfile.DEAD_AFTER_5S: NodePace(seconds(1), milliseconds(100), seconds(5)),
    NodeProfile.EACH_2S: NodePace(seconds(2), milliseconds(0), seconds(5)),
    NodeProfile.EACH_5S: NodePace(seconds(5), seconds(1), seconds(13)),
}


def node_pace(
    profile: NodeProfile,
    interval: DurationNs | None,
    jitter: DurationNs | None,
    timeout: DurationNs | None,
) -> NodePace:
    """Return the pace of a profile, in which what is given counts before it.

    With another interval the jitter is a tenth of it, and with either the timeout (k+1) T + J,
    k = 2 (protocol.md 7.1).
    """
    pace = profile.pace
    if interval is not None:
        jitter = milliseconds(interval // 10_000_000) if jitter is None else jitter
        pace = pace._replace(interval=interval)
    if jitter is not None:
        pace = pace._replace(jitter=jitter, timeout=DurationNs(3 * pace.interval + jitter))
    return pace if timeout is None else pace._replace(timeout=timeout)


class Profile(Enum):
    """A pace of heartbeats, and how a dead agent is found out, that suit each other."""

    LAN = "lan"
    LAN_FAST = "lan-fast"
    COMPAT = "compat"
    """At the pace that VRRP has by default (RFC 9568 6.1: 1 s)."""
    WAN = "wan"
    """To named peers only: multicast seldom gets far, and then each agent is master."""
    FIXED = "fixed"

    @property
    def interval(self) -> DurationNs:
        """The heartbeat interval I, where the file gives no other."""
        return _INTERVALS[self]

    @property
    def detection(self) -> Detection:
        return Detection.FIXED if self is Profile.FIXED else Detection.PROBING


_INTERVALS = {
    Profile.LAN: milliseconds(200),
    Profile.LAN_FAST: milliseconds(50),
    Profile.COMPAT: seconds(1),
    Profile.WAN: seconds(1),
    Profile.FIXED: milliseconds(200),
}


def text(raw: object) -> str:
    """Return text; a number or truth value is none, whatever it looks like."""
    if not isinstance(raw, str):
        raise ValueError("must be text in quotes")
    return raw


def name(raw: object) -> str:
    """Return the name of a node, a cluster or a group."""
    if not is_name(text(raw)):
        raise ValueError(
            "must be 1..63 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    return text(raw)


def haproxy_name(raw: object) -> str:
    """Return the name of a backend or server; HAProxy's manual, "Proxies"."""
    if not _HAPROXY_NAME.fullmatch(text(raw)):
        raise ValueError("must be 1..127 letters, digits, '.', '_', ':' or '-'")
    return text(raw)


def interface(raw: object) -> str:
    """Return a network interface's name, as the kernel allows it (``dev_valid_name``)."""
    if not _INTERFACE.fullmatch(text(raw)):
        raise ValueError("must be an interface: 1..15 characters without space, '/' or ':'")
    if raw == "lo":
        raise ValueError("must be an interface that other hosts can reach")
    return text(raw)


def path(raw: object) -> str:
    """Return a file name, absolute or not."""
    if not text(raw) or not text(raw).isprintable():
        raise ValueError("must be a path")
    return text(raw)


def socket_path(raw: object) -> str:
    """Return the file name of a Unix socket."""
    if len(path(raw).encode()) > SOCKET_PATH_BYTES:
        requirement = f"must be a path of at most {SOCKET_PATH_BYTES} bytes"
        raise ValueError(requirement)
    return path(raw)


def word(raw: object) -> str:
    """Return one word of a command; what the kernel takes, so everything but a zero byte."""
    if not text(raw) or "\0" in text(raw):
        raise ValueError("must be text in quotes, and not empty")
    return text(raw)


def http_status(raw: object) -> tuple[int, int]:
    """Return the lowest and the highest of the statuses that are meant: 200, or ``200..299``."""
    found = re.fullmatch(r"([1-5][0-9]{2})(?:\.\.([1-5][0-9]{2}))?", str(raw))
    if not found or isinstance(raw, bool) or int(found[1]) > int(found[2] or found[1]):
        raise ValueError("must be a status 100..599 or a range of them, as in 200 or 200..299")
    return int(found[1]), int(found[2] or found[1])


def host_name(raw: object) -> str:
    """Return the name of a web site."""
    if not _HOST_NAME.fullmatch(text(raw)):
        raise ValueError("must be a host name, as in shop.example")
    return text(raw)


def process_name(raw: object) -> str:
    """Return the name of a process, without its directory."""
    if "/" in path(raw):
        raise ValueError("must be the name of a process without a path, as in haproxy")
    return path(raw)


def hook(raw: object) -> object:
    """Return the mapping of a hook; the path of a program alone is short for one."""
    if isinstance(raw, dict):
        return raw
    try:
        program = path(raw)
    except ValueError:
        raise ValueError("must be the path of a program, or a mapping") from None
    # A path, and never a name to be looked for in PATH.
    return {"command": (program if "/" in program else f"./{program}",)}


def web_address(raw: object) -> str:
    """Return the address of a webhook."""
    try:
        parts = urlsplit(text(raw))
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text(raw).isprintable() or " " in text(raw):
        raise ValueError("must be a URL that begins with http:// or https://")
    if parts.username is not None:
        raise ValueError("must be a URL without user and password")
    return text(raw)


def unit(raw: object) -> str:
    """Return the name of a systemd unit of type service, in full (systemd.unit(5))."""
    if not _UNIT.fullmatch(text(raw)):
        raise ValueError("must be the name of a unit that ends with '.service'")
    return text(raw)


def kind_pattern(raw: object) -> str:
    """Return a pattern of the kinds of records: ``peer.dead``, ``peer.*``."""
    if not _KIND_PATTERN.fullmatch(text(raw)):
        raise ValueError("must be a kind of record or a pattern of kinds, as in 'peer.*'")
    return text(raw)


def severity(raw: object) -> Severity:
    """Return a severity by its name."""
    names = [each.name.lower() for each in Severity]
    if raw not in names:
        requirement = f"must be {', '.join(names[:-1])} or {names[-1]}"
        raise ValueError(requirement)
    return Severity[str(raw).upper()]


def rate(raw: object) -> Rate:
    """Return how often within a length of time: ``10/1m``."""
    count, slash, per = str(raw).partition("/")
    if not slash or not re.fullmatch(r"[1-9][0-9]{0,3}", count):
        raise ValueError("must be a number and a length of time, as in 10/1m")
    return Rate(int(count), duration(seconds(1), seconds(24 * 3600))(per))


def truth(raw: object) -> bool:
    """Return true or false."""
    if not isinstance(raw, bool):
        raise ValueError("must be true or false")
    return raw


def filled(raw: T) -> T:
    """Return a list or mapping that is not empty."""
    if raw in ((), {}):
        raise ValueError("must have at least one entry")
    return raw


def at_most(count: int) -> Callable[[T], T]:
    """Return what refuses a list or mapping with more than ``count`` entries."""

    def limit(raw: T) -> T:
        if isinstance(raw, tuple | dict) and len(raw) > count:
            requirement = f"must have at most {count} entries"
            raise ValueError(requirement)
        return raw

    return limit


def whole(low: int, high: int) -> Callable[[object], int]:
    """Return the parser of whole numbers from ``low`` to ``high``."""

    def parse(raw: object) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
            requirement = f"must be {low}..{high}"
            raise ValueError(requirement)
        return raw

    return parse


def choice(words: type[E]) -> Callable[[object], E]:
    """Return the parser of the values of ``words``."""
    *most, last = (str(word.value) for word in words)

    def parse(raw: object) -> E:
        try:
            return words(raw)
        except ValueError:
            requirement = f"must be {', '.join(most)} or {last}"
            raise ValueError(requirement) from None

    return parse


def duration(low: DurationNs, high: DurationNs) -> Callable[[object], DurationNs]:
    """Return the parser of lengths of time from ``low`` to ``high``."""

    def parse(raw: object) -> DurationNs:
        found = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h)", str(raw))
        if not found:
            raise ValueError("must be a whole number with a unit, as in 200ms, 5s, 2m or 1h")
        length = DurationNs(int(found[1]) * _UNITS[found[2]])
        if not low <= length <= high:
            requirement = f"must be {shown(low)}..{shown(high)}"
            raise ValueError(requirement)
        return length

    return parse


def shown(length: DurationNs) -> str:
    """Return ``length``, a whole number of milliseconds, as it would be written in the file."""
    if length == 0:
        return "0s"
    unit = next(unit for unit, size in _UNITS.items() if length % size == 0 and length >= size)
    return f"{length // _UNITS[unit]}{unit}"


def preemption(raw: object) -> Preemption:
    """Return when a better agent takes over: ``never``, ``immediately`` or ``after 5s``."""
    if isinstance(raw, str) and raw.startswith("after "):
        delay = duration(milliseconds(1), seconds(24 * 3600))
        return Preemption(Preempt.AFTER, delay(raw.removeprefix("after ").strip()))
    if raw in (Preempt.NEVER.value, Preempt.IMMEDIATELY.value):
        return Preemption(Preempt(raw))
    raise ValueError("must be never, immediately or after a duration, as in 'after 5s'")
