"""Datagrams that changed nothing: counted by source and reason, told at most once a minute."""

from collections import Counter
from collections.abc import Callable, Mapping

from haagent.core.events import Event
from haagent.core.messages import DiscardReason
from haagent.core.settings import IPAddress
from haagent.core.units import MonoNs, later, seconds
from haagent.runtime.log import logger

QUIET = seconds(60)
"""How long one source and reason is not told again."""

MAX_COUNTED = 1024
"""Bound on pairs of source and reason; a flood of forged sources must not fill the memory."""

_ORDINARY = {DiscardReason.UNPROVEN, DiscardReason.OTHER_DESTINATION, DiscardReason.OWN}
"""Part of the protocol's normal life: counted, not told."""


class Discards:
    """See the module docstring."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        """``post`` hears of each source and reason as often as the log does."""
        self._post = post
        self._counts: Counter[tuple[IPAddress, DiscardReason]] = Counter()
        self._told: dict[tuple[IPAddress, DiscardReason], MonoNs] = {}

    @property
    def counts(self) -> Mapping[tuple[IPAddress, DiscardReason], int]:
        """Since the start, by source and reason."""
        return self._counts

    def count(
        self, now: MonoNs, source: IPAddress, reason: DiscardReason, detail: str = ""
    ) -> None:
        """Count one datagram, and log it when that is due."""
        key = (source, reason)
        if key not in self._counts and len(self._counts) >= MAX_COUNTED:
            return
        self._counts[key] += 1
        if reason in _ORDINARY or now < self._told.get(key, now):
            return
        self._told[key] = later(now, QUIET)
        why = f"{reason.name.lower()}{': ' if detail else ''}{detail}"
        logger.warning("datagram from %s discarded, %s (%d so far)", source, why, self._counts[key])
