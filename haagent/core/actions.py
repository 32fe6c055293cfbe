"""All that the core can ask for.

An action states the desired end, never a difference; performing one twice is harmless.
Actions of one step are performed in list order.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from haagent.core.checks import CheckSettings
from haagent.core.clocks import Stamp
from haagent.core.identity import GroupId, Term
from haagent.core.messages import Datagram, DiscardReason, NodeAck
from haagent.core.settings import HookSettings, IPAddress, IPInterface
from haagent.core.units import MonoNs


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send ``datagram`` on its path: to ``destination``, or to all when that is None."""

    datagram: Datagram
    destination: IPAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAddress:
    """``address`` is on ``interface``.  Answered by ActionDone or ActionFailed."""

    group: GroupId
    term: Term
    interface: str
    address: IPInterface


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAddress:
    """``address`` is not on ``interface``.  Answered by ActionDone or ActionFailed."""

    group: GroupId
    term: Term
    interface: str
    address: IPInterface


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFence:
    """The kernel lets ``address`` be heard until the instant ``until``, and not after.

    ``until`` is counted from the heartbeat that allows it, never from the time at which this is
    performed: what comes late opens nothing.
    """

    group: GroupId
    term: Term
    interface: str
    address: IPInterface
    until: MonoNs
    by: MonoNs
    """Performed later than this it is void: the heartbeat was late, and a peer may have claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseFence:
    """The kernel silences ``address``, whether or not it is on ``interface``."""

    group: GroupId
    term: Term
    interface: str
    address: IPInterface


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceAddress:
    """The neighbours know where ``address`` is: gratuitous ARP in both forms, or unsolicited NA.

    Also asks on the link whether somebody else has it (ARP probe, RFC 5227; NS, RFC 4862).
    Source: RFC 9568 6.4.2, RFC 5227 3, RFC 9131.
    """

    group: GroupId
    term: Term
    interface: str
    address: IPInterface


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAddress:
    """The link is asked once who has ``address``; ForeignAddressSeen is the answer, if any comes.

    Source: RFC 5227 2.1.1 (ARP probe), RFC 4862 5.4.2 (NS).
    """

    interface: str
    address: IPInterface


@dataclass(frozen=True, slots=True)
class AskHost:
    """The kernel at ``address`` is asked once whether it is there; HostAnswered is the answer.

    By ARP request or NS to the MAC it was last known under, or to all, and by ICMP echo.
    """

    path: int
    """Index of our path, on whose link the address is."""
    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of a HAProxy backend, as it is to be or as it was seen."""

    name: str
    address: IPAddress
    port: int
    weight: int
    check: bool


@dataclass(frozen=True, slots=True)
class Backend:
    """A HAProxy backend with all its servers."""

    name: str
    servers: tuple[Server, ...]
    whole: bool = True
    """Whether there are to be no others.  While not all app nodes that live have been heard nobody
    knows which servers are to go: those here are put right, and no other is touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBackends:
    """The local HAProxy has exactly these servers in these backends, where those are ``whole``."""

    terms: tuple[tuple[GroupId, Term], ...]
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class AckNode:
    """An app node is answered, by the way that it was heard."""

    ack: NodeAck
    destination: IPAddress
    port: int
    way: int


Fact: TypeAlias = tuple[str, str | int | tuple[str, ...] | None]
"""Something that a hook is told, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHook:
    """An operator's hook runs, after those before it in the same lane.  Answered by HookEnded.

    Of several that wait in a lane only the newest runs.
    """

    queue: str
    """``group web`` or ``node app1``."""
    kind: str
    """The key that it stands under in the file: ``master``, ``on_dead``."""
    hook: HookSettings
    facts: tuple[Fact, ...]

    @property
    def lane(self) -> tuple[str, str]:
        """The queue; what has to run beside its others has a lane of its own in it."""
        return self.queue, self.kind if self.kind in {"any", "before_claim"} else ""


@dataclass(frozen=True, slots=True)
class CancelHook:
    """A hook ends, or does not begin; nobody wants to know how it ended."""

    action: RunHook


@dataclass(frozen=True, slots=True)
class WatchProcesses:
    """The processes behind exactly these addresses are watched; ProcessEnded tells of an end."""

    places: frozenset[tuple[int, IPAddress]]
    """Index of our path, and the address on it."""


@dataclass(frozen=True, slots=True)
class WatchChecks:
    """Exactly these checks are made, over and over; CheckReported tells what they come to."""

    checks: frozenset[tuple[GroupId, CheckSettings]]


@dataclass(frozen=True, slots=True)
class ReserveTerm:
    """Terms of ``group`` up to ``term`` count as used after a restart (protocol.md 3.4)."""

    group: GroupId
    term: Term


@dataclass(frozen=True, slots=True)
class CountDiscard:
    """A datagram from ``source`` changed nothing."""

    source: IPAddress
    reason: DiscardReason


class Severity(IntEnum):
    """How much a record matters to an operator; syslog's numbers."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Something an operator may want to know of, for the journal and the status."""

    number: int
    """Counts the records of this boot, from 1."""
    stamp: Stamp
    severity: Severity
    kind: str
    """Dotted, stable: ``role.changed``, ``peer.dead``, ``address.conflict``."""
    text: str
    group: str | None
    term: Term | None
    cause: int | None = None
    """Number of the record that led to this one."""
    evidence: tuple[str, ...] = ()
    """What the decision stands on, a line each, in the order of time."""
    heard: tuple[tuple[str, int], ...] = ()
    """Of each other agent, by name, the greatest Lamport counter that had been heard by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """A mastership that outlives its process, for a planned restart."""

    group: GroupId
    term: Term
    until: MonoNs
    """The peers wait at least so long, and the fence stays open so long."""
    chosen: int | None = None
    """Since an operator chose this agent: the health that it has kept since then."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything is handed over and released, but for what is ``kept``; the process may end."""

    kept: tuple[Tenure, ...] = ()
    """The masterships that the next process goes on with; their addresses stay, and are heard."""


Action: TypeAlias = (
    SendDatagram
    | ClaimAddress
    | ReleaseAddress
    | OpenFence
    | CloseFence
    | AnnounceAddress
    | AskAddress
    | AskHost
    | SetBackends
    | AckNode
    | RunHook
    | CancelHook
    | WatchProcesses
    | WatchChecks
    | ReserveTerm
    | CountDiscard
    | Record
    | Finished
)
