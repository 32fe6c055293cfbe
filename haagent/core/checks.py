"""What may be checked, how often, and what follows from a failure: frozen settings.

``haagent.config`` makes these from the operator's files, of agents and of app nodes alike;
``haagent.adapters.checks`` performs them, ``haagent.core.health`` judges what they found.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from haagent.core.units import DurationNs, seconds

DEFAULT_INTERVAL = seconds(1)
DEFAULT_FALL = 2


@dataclass(frozen=True, slots=True)
class HAProxyCheck:
    """The HAProxy behind ``socket`` answers, and is not about to end."""

    socket: str

    def __str__(self) -> str:
        return f"haproxy {self.socket}"


@dataclass(frozen=True, slots=True)
class TCPCheck:
    """Somebody accepts connections there."""

    address: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"tcp {host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPCheck:
    """A web server answers with a status that is wanted."""

    url: str
    """With an IP address for its host."""
    status: tuple[int, int] = (200, 399)
    """The lowest and the highest that pass: by default what HAProxy itself takes for well."""
    host: str = ""
    """The name that is asked for, where it is another than the address."""
    verify: bool = True
    """Whether the certificate must be good, by https."""

    def __str__(self) -> str:
        name = f" as {self.host}" if self.host else ""
        return f"{self.url}{name}"


@dataclass(frozen=True, slots=True)
class PingCheck:
    """The host answers an ICMP echo."""

    address: IPv4Address | IPv6Address

    def __str__(self) -> str:
        return f"ping {self.address}"


@dataclass(frozen=True, slots=True)
class ProcessCheck:
    """A process of this name lives."""

    name: str

    def __str__(self) -> str:
        return f"process {self.name}"


@dataclass(frozen=True, slots=True)
class PidfileCheck:
    """The process lives whose number is in this file."""

    path: str

    def __str__(self) -> str:
        return f"pidfile {self.path}"


@dataclass(frozen=True, slots=True)
class FileCheck:
    """There is no such file: to make one is the operator's switch."""

    path: str

    def __str__(self) -> str:
        return f"no file {self.path}"


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A program ends with exit code 0."""

    argv: tuple[str, ...]
    user: str | None = None
    """Who runs it; None: the agent's own user, who must not be root."""

    def __str__(self) -> str:
        return f"exec {' '.join(self.argv)}"


What: TypeAlias = (
    HAProxyCheck
    | TCPCheck
    | HTTPCheck
    | PingCheck
    | ProcessCheck
    | PidfileCheck
    | FileCheck
    | CommandCheck
)


class Consequence(Enum):
    """What an agent does in a group of which a check fails."""

    RELEASE = "release"
    """It gives the group up at once, and takes no part in it until the check passes."""
    DEMOTE = "demote"
    """It ranks below every agent that is better off, and hands over to such a one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """One check."""

    name: str
    what: What
    interval: DurationNs = DEFAULT_INTERVAL
    timeout: DurationNs
    """Less than the interval: a result is there before the next check begins."""
    rise: int = 2
    """Passes in a row that end a failure."""
    fall: int = DEFAULT_FALL
    """Failures in a row that count as one."""
    on_fail: Consequence = Consequence.RELEASE

    @property
    def detection(self) -> DurationNs:
        """How long after something fails it counts as failed, at most."""
        return DurationNs(self.fall * self.interval + self.timeout)


def default_timeout(interval: DurationNs) -> DurationNs:
    """Return the time limit of a check for which none is given: half its interval, 1 s at most.

    Unit: nanoseconds, in whole milliseconds.
    """
    return min(seconds(1), DurationNs(interval // 2_000_000 * 1_000_000))
