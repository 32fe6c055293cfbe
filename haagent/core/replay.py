"""The replay window of one boot of one peer: every sequence number counts once.

Source: the sliding window of RFC 4303 3.4.3, 1024 wide.
"""

WINDOW = 1024


class ReplayWindow:
    """Which of the last 1024 sequence numbers were seen."""

    def __init__(self, sequence: int) -> None:
        """Begin at ``sequence``: what was sent before it may be a capture, and counts as seen."""
        self._newest = sequence
        self._seen = (1 << WINDOW) - 1

    def accept(self, sequence: int) -> bool:
        """Return whether ``sequence`` is new, and remember it."""
        ahead = sequence - self._newest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self._newest = sequence
            return True
        if -ahead >= WINDOW:
            return False
        fresh = not self._seen >> -ahead & 1
        self._seen |= 1 << -ahead
        return fresh

    def missing_since(self, sequence: int) -> int:
        """Return how many numbers between ``sequence`` and the newest were not seen, of the last.

        It is one of those that were seen.
        """
        span = min(max(self._newest - sequence, 0), WINDOW)
        return span - (self._seen & ((1 << span) - 1)).bit_count()
