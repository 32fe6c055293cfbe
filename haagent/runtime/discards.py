"""Datagrams that changed nothing: counted by source and reason, told at most once a minute."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

from haagent.core.events import Event, StrangerHeard
from haagent.core.messages import DiscardReason
from haagent.core.settings import IPAddress
from haagent.core.units import MonoNs, later, seconds
from haagent.runtime.log import logger

QUIET = seconds(60)
"""How long one source and reason is not told again."""

MAX_COUNTED = 1024
"""Bound on pairs of source and reason; a flood of forged sources must not fill the memory."""

MAX_ORDINARY = 256
"""Bound on those of the protocol's normal life, such as the first word of each of ten thousand app
nodes: they must not keep anybody from being counted who means harm."""

MAX_TOLD = 16
"""Pairs told within :data:`QUIET`; a fleet with the wrong key must not fill log and status."""

_ORDINARY = {DiscardReason.UNPROVEN, DiscardReason.OTHER_DESTINATION, DiscardReason.OWN}
"""Part of the protocol's normal life: counted, not told."""

_Key: TypeAlias = tuple[IPAddress, DiscardReason]


class Discards:
    """See the module docstring."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        """``post`` hears of each source and reason as often as the log does."""
        self._post = post
        self._strange: Counter[_Key] = Counter()
        self._ordinary: Counter[_Key] = Counter()
        self._quiet_until: dict[_Key, MonoNs] = {}

    @property
    def counts(self) -> Mapping[_Key, int]:
        """Since the start, by source and reason."""
        return {**self._strange, **self._ordinary}

    def count(
        self, now: MonoNs, source: IPAddress, reason: DiscardReason, detail: str = ""
    ) -> None:
        """Count one datagram, and tell of it when that is due."""
        key = (source, reason)
        if reason in _ORDINARY:
            _count(self._ordinary, key, MAX_ORDINARY)
        elif _count(self._strange, key, MAX_COUNTED) and self._is_due(now, key):
            why = f"{reason.name.lower()}{': ' if detail else ''}{detail}"
            times = self._strange[key]
            logger.warning("datagram from %s discarded, %s (%d so far)", source, why, times)
            self._post(StrangerHeard(source, reason))

    def _is_due(self, now: MonoNs, key: _Key) -> bool:
        """Return whether to tell of ``key`` now, and then be quiet of it for a while."""
        told = {each: until for each, until in self._quiet_until.items() if now < until}
        self._quiet_until = told
        if key in told or len(told) >= MAX_TOLD:
            return False
        told[key] = later(now, QUIET)
        return True


def _count(counter: Counter[_Key], key: _Key, most: int) -> bool:
    """Count ``key``; return whether there is room for it."""
    if key not in counter and len(counter) >= most:
        return False
    counter[key] += 1
    return True
