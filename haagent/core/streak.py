"""When the results of a check turn it into one that passes, or one that fails."""


class Streak:
    """Results in a row that contradict what a check is taken for."""

    def __init__(self, rise: int, fall: int) -> None:
        """``rise`` passes in a row end a failure, ``fall`` failures in a row count as one."""
        self._rise, self._fall = rise, fall
        self.passed: bool | None = None
        """What the check is taken for; None before its first result."""
        self._against = 0

    def count(self, *, passed: bool) -> bool:
        """Take in one result; return whether the check is now taken for something else.

        The first one decides by itself: there is nothing yet that it could be an exception to.
        """
        if passed is self.passed:
            self._against = 0
            return False
        self._against += 1
        needed = {None: 1, True: self._fall, False: self._rise}[self.passed]
        if self._against < needed:
            return False
        self.passed, self._against = passed, 0
        return True
