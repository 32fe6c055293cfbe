"""The addresses of one group: the only writer of addresses.

The election decides a role; this module turns it into claim, announce and release, keeps
at it when the kernel refuses or somebody interferes, and gives up when nothing helps.

Order: fence closed, address added, fence opened, announced; fence closed, address removed,
and only then is anybody told.  The fence is opened by a heartbeat, for one lease.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

from haagent.core.actions import (
    AnnounceAddress,
    ClaimAddress,
    CloseFence,
    OpenFence,
    ReleaseAddress,
    Severity,
)
from haagent.core.events import ActionFailed
from haagent.core.identity import Term
from haagent.core.journal import Journal
from haagent.core.settings import GroupSettings, IPAddress, IPInterface
from haagent.core.status import AddressStatus
from haagent.core.units import (
    DurationNs,
    Moment,
    MonoNs,
    between,
    earliest,
    later,
    milliseconds,
    seconds,
)

ANNOUNCE_OFFSETS = (milliseconds(0), milliseconds(50), milliseconds(200), milliseconds(1000))
"""When the neighbours are told after a claim; one lost frame must not leave them behind."""

ANNOUNCE_REFRESH = seconds(60)
CONFLICT_LASTS = seconds(60)
DEFEND_INTERVAL = seconds(1)
"""Least time between two defences of an address, so that two hosts do not storm the link."""

RETRY_FIRST = milliseconds(100)
RETRY_LONGEST = seconds(10)
CLAIM_TIMEOUT = milliseconds(500)
"""A master that holds none of its addresses after this long steps down."""

CALM = seconds(60)
"""An address that stays this long is no longer thought to be fought over."""

AddressAction: TypeAlias = ClaimAddress | ReleaseAddress | OpenFence | CloseFence | AnnounceAddress


@dataclass(slots=True)
class _Address:
    """One virtual address: whether it is here, and what is to be tried when."""

    interface: str
    address: IPInterface
    held: bool = False
    present: bool = False
    """It was claimed, and is not known to be released."""
    leaving: bool = False
    """The configuration has it no longer."""
    claimed_at: MonoNs | None = None
    """When it was last claimed with success."""
    attempts: int = 0
    """Claims or releases in a row that failed or did not last."""
    retry_due: MonoNs | None = None
    announced: int = 0
    """How many of the announcements after a claim are made."""
    announce_due: MonoNs | None = None
    defended_at: MonoNs | None = None


class Ownership:
    """See the module docstring."""

    def __init__(self, group: GroupSettings, journal: Journal) -> None:
        self._group = group
        self._journal = journal
        self._addresses = {
            (group.interface, each.ip): _Address(group.interface, each) for each in group.addresses
        }
        """By its place; those that are leaving included."""
        self._term = Term(0)
        self._wanted = False
        self._give_up_due: MonoNs | None = None
        self._lease_end = MonoNs(0)

    def take(self, now: Moment, term: Term) -> list[AddressAction]:
        """Claim every address."""
        self._wanted, self._term = True, term
        self._give_up_due = later(now.mono, CLAIM_TIMEOUT)
        staying = self._staying()
        for item in staying:
            item.attempts = 0
        return self._behind_closed_fences(staying, self._claim)

    def keep(self, now: Moment, term: Term, lease_end: MonoNs) -> list[AddressAction]:
        """Go on with addresses that are here, and heard until ``lease_end``."""
        self._lease_end = lease_end
        return [a for a in self.take(now, term) if isinstance(a, ClaimAddress)]

    def vouch(self, lease_end: MonoNs) -> list[AddressAction]:
        """Keep the addresses heard until ``lease_end``: a heartbeat is on its way."""
        # The lease before it tells until when nobody can have claimed.
        before, self._lease_end = self._lease_end, lease_end
        if not self._wanted:
            return []  # A claim may have to wait while what was had before it is released.
        return [self._open_fence(item, before) for item in self._staying() if item.held]

    def let_go(self, term: Term) -> list[AddressAction]:
        """Release every address."""
        self._wanted, self._term = False, term
        self._give_up_due = None
        for item in self._addresses.values():
            item.attempts = 0
        return self._behind_closed_fences([*self._addresses.values()], self._release)

    def reconfigure(self, now: Moment, group: GroupSettings) -> list[AddressAction]:
        """Go by ``group`` from now on: release what it has no longer, then claim what is new.

        What it still has is not touched.
        """
        before, self._group = self._addresses, group
        self._addresses = {}
        for address in group.addresses:
            place = group.interface, address.ip
            known = before.get(place)
            stays = known is not None and known.address == address and not known.leaving
            self._addresses[place] = (
                before.pop(place) if stays else _Address(group.interface, address)
            )
        gone = [item for item in before.values() if item.present]
        added = [item for item in self._addresses.values() if not item.present]
        for item in gone:
            item.leaving = True
            # With another prefix length it is the place of the new one.
            self._addresses.setdefault((item.interface, item.address.ip), item)
        if not self._wanted:
            return []  # whatever is still here is being released
        if not self._holds_any():
            self._give_up_due = later(now.mono, CLAIM_TIMEOUT)
        return [
            *self._behind_closed_fences(gone, self._release),
            *self._behind_closed_fences(added, self._claim),
        ]

    @property
    def empty(self) -> bool:
        """Whether nothing is here or to be here, not even for want of a release."""
        return not self._addresses

    def renew(self, now: Moment, term: Term) -> list[AddressAction]:
        """Announce again under ``term``, after another master has given way."""
        self._term = term
        held = [item for item in self._staying() if item.held]
        return [self._announce_from_start(now, item) for item in held]

    def done(self, now: Moment, action: ClaimAddress | ReleaseAddress) -> list[AddressAction]:
        """Take in that the kernel did what was asked."""
        self._journal.clear(now, _trouble(action), str(action.address))
        item = self._meant_by(action)
        if item is None:
            return []
        if isinstance(action, ReleaseAddress) or not self._wants(item):
            item.held = False
            if isinstance(action, ReleaseAddress) and not self._wants(item):
                self._released(item)
            return []
        item.held, item.claimed_at, item.retry_due = True, now.mono, None
        self._give_up_due = None
        return [self._open_fence(item, self._lease_end), self._announce_from_start(now, item)]

    def failed(self, now: Moment, failure: ActionFailed) -> None:
        """Take in that the kernel refused; the same is tried again later, ever less often."""
        action = failure.action
        if isinstance(action, AnnounceAddress):
            self._journal.alarm(
                now,
                "address.unannounced",
                str(action.address),
                f"{action.address} cannot be announced on {action.interface}: {failure.text}",
                lasts=ANNOUNCE_REFRESH,
            )
            return
        if isinstance(action, OpenFence | CloseFence):
            text = f"the fence of {action.address} on {action.interface} fails: {failure.text}"
            self._journal.alarm(
                now, "fence.failed", str(action.address), text, severity=Severity.ERROR, lasts=CALM
            )
            return
        assert isinstance(action, ClaimAddress | ReleaseAddress)
        item = self._meant_by(action)
        if item is None or isinstance(action, ClaimAddress) is not self._wants(item):
            return
        self._retry_later(now, item)
        if self._wants(item) and self._give_up_due is None and not self._holds_any():
            # Taken away, and refused since: another host may have more luck.
            self._give_up_due = later(now.mono, CLAIM_TIMEOUT)
        verb = "claimed" if self._wants(item) else "released"
        self._journal.alarm(
            now,
            _trouble(action),
            str(item.address),
            f"{item.address} cannot be {verb} on {action.interface}: {failure.text}",
            severity=Severity.ERROR,
            lasts=CALM,
        )

    def removed(self, now: Moment, address: IPAddress) -> None:
        """Take in that somebody else took an address away: it comes back, with back-off."""
        item = self._addresses.get((self._group.interface, address))
        if item is None or not self._wants(item) or not item.held:
            return
        if item.claimed_at is not None and between(item.claimed_at, now.mono) > CALM:
            item.attempts = 0
        item.held, item.announce_due = False, None
        if item.attempts == 0:
            item.attempts, item.retry_due = 1, now.mono
        else:
            self._retry_later(now, item)
        self._journal.record(
            now,
            "address.removed",
            f"{item.address} was removed from {self._group.interface} by somebody else",
            severity=Severity.WARNING,
            group=self._group.name,
            term=self._term,
        )

    def foreign(self, now: Moment, address: IPAddress, mac: str) -> list[AddressAction]:
        """Take in that another host showed an address of this group as its own."""
        item = self._addresses.get((self._group.interface, address))
        if item is None or not self._wants(item):
            return []
        self._journal.alarm(
            now,
            "address.conflict",
            str(address),
            f"{address} is also used by {mac} on {self._group.interface}",
            severity=Severity.CRITICAL,
            lasts=CONFLICT_LASTS,
        )
        if not item.held:
            return []
        if item.defended_at is not None:
            allowed = later(item.defended_at, DEFEND_INTERVAL)
            if now.mono < allowed:
                # Not now, but the last word must be ours: the other may be giving way.
                item.announce_due = min(allowed, item.announce_due or allowed)
                return []
        item.defended_at = now.mono
        return [self._announce(item)]

    def tick(self, now: Moment) -> list[AddressAction]:
        """Do what is due."""
        actions: list[AddressAction] = []
        for item in self._addresses.values():
            if item.retry_due is not None and item.retry_due <= now.mono:
                item.retry_due = None
                again = self._claim(item) if self._wants(item) else self._release(item)
                actions += [self._close_fence(item), again]
            if item.announce_due is not None and item.announce_due <= now.mono:
                actions.append(self._announce_next(now, item))
        return actions

    def gives_up(self, now: Moment) -> bool:
        """Return whether the addresses could not be had in time, once per claim."""
        over = self._give_up_due is not None and self._give_up_due <= now.mono
        if over:
            self._give_up_due = None
        return over

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` or :meth:`gives_up` is due."""
        due = self._give_up_due
        for item in self._addresses.values():
            if item.retry_due is not None or item.announce_due is not None:
                due = earliest(due, item.retry_due, item.announce_due)
        return due

    def status(self) -> tuple[AddressStatus, ...]:
        """Return what is held, or is to be; what is leaving included."""
        items = self._addresses.values()
        return tuple(
            AddressStatus(interface=item.interface, address=item.address, held=item.held)
            for item in items
        )

    def _staying(self) -> list[_Address]:
        return [item for item in self._addresses.values() if not item.leaving]

    def _wants(self, item: _Address) -> bool:
        return self._wanted and not item.leaving

    def _meant_by(self, action: ClaimAddress | ReleaseAddress) -> _Address | None:
        item = self._addresses.get((action.interface, action.address.ip))
        return item if item is not None and item.address == action.address else None

    def _released(self, item: _Address) -> None:
        item.present = False
        if item.leaving:
            del self._addresses[item.interface, item.address.ip]

    def _behind_closed_fences(
        self, items: Collection[_Address], change: Callable[[_Address], AddressAction]
    ) -> list[AddressAction]:
        return [*map(self._close_fence, items), *map(change, items)]

    def _holds_any(self) -> bool:
        return any(item.held for item in self._staying())

    def _claim(self, item: _Address) -> ClaimAddress:
        item.present = True
        return ClaimAddress(
            group=self._group.id,
            term=self._term,
            interface=item.interface,
            address=item.address,
        )

    def _release(self, item: _Address) -> ReleaseAddress:
        item.announce_due = item.retry_due = item.defended_at = None
        return ReleaseAddress(
            group=self._group.id,
            term=self._term,
            interface=item.interface,
            address=item.address,
        )

    def _open_fence(self, item: _Address, by: MonoNs) -> OpenFence:
        return OpenFence(
            group=self._group.id,
            term=self._term,
            interface=item.interface,
            address=item.address,
            until=self._lease_end,
            by=by,
        )

    def _close_fence(self, item: _Address) -> CloseFence:
        return CloseFence(
            group=self._group.id,
            term=self._term,
            interface=item.interface,
            address=item.address,
        )

    def _announce(self, item: _Address) -> AnnounceAddress:
        return AnnounceAddress(
            group=self._group.id,
            term=self._term,
            interface=item.interface,
            address=item.address,
        )

    def _announce_from_start(self, now: Moment, item: _Address) -> AnnounceAddress:
        item.announced = 0
        return self._announce_next(now, item)

    def _announce_next(self, now: Moment, item: _Address) -> AnnounceAddress:
        made = item.announced
        item.announced = min(made + 1, len(ANNOUNCE_OFFSETS))
        pause = ANNOUNCE_REFRESH
        if item.announced < len(ANNOUNCE_OFFSETS):
            pause = DurationNs(ANNOUNCE_OFFSETS[made + 1] - ANNOUNCE_OFFSETS[made])
        item.announce_due = later(now.mono, pause)
        return self._announce(item)

    def _retry_later(self, now: Moment, item: _Address) -> None:
        pause = min(RETRY_FIRST << min(item.attempts, 16), RETRY_LONGEST)
        item.attempts += 1
        item.retry_due = later(now.mono, DurationNs(pause))


def _trouble(action: ClaimAddress | ReleaseAddress) -> str:
    """Return the kind of alarm that stands while ``action`` fails.

    That an address could be released says nothing of whether it can be claimed next time.
    """
    return "address.unclaimed" if isinstance(action, ClaimAddress) else "address.unreleased"
