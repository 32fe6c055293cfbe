"""Keeps the local HAProxy's backends as wanted, for as long as it runs.

Say what is wanted with :meth:`HAProxyRuntime.want`, as often as it changes; :meth:`run`
reads what HAProxy has, changes the difference, reads again and posts a
``BackendsObserved`` when what it saw is new.  It looks again every half second, so a list
that was lost in a restart or a reload, or changed by somebody else, is put right.

All of that is done in one thread.  The newest want counts, also in the middle of an older one.

What this module does not do: touch a backend that is not in the wanted list, end a
session, write haproxy.cfg, or raise because of HAProxy.
"""

import time
from collections.abc import Callable, Sequence
from threading import Event as Flag

from haagent.adapters.haproxy.exchange import exchange, explain
from haagent.adapters.haproxy.thread import in_thread, poster
from haagent.core.actions import Backend
from haagent.core.events import BackendsObserved, Event
from haagent.wire.haproxy.changes import Change, in_order, is_urgent, observe, plan
from haagent.wire.haproxy.framing import batches
from haagent.wire.haproxy.tables import SHOW_PROCESS, Table, Tables, read_process, show

POLL_S = 0.5
"""How often a HAProxy that answers is looked at: a lost list must be back within 1 s."""
RETRY_S = 0.1
"""How often one that does not is tried: a connection that is refused costs next to nothing."""
SHARE = 0.02
"""Of one processor, for looking at a long list: less often than every :data:`POLL_S` where that
takes more.  Whether HAProxy is still the same process is asked all the same."""


class HAProxyRuntime:
    """See the module docstring.  To be used in one event loop."""

    def __init__(self, socket_path: str, post: Callable[[Event], None]) -> None:
        self._path = socket_path
        self._post = post
        self._wanted: tuple[Backend, ...] | None = None
        self._woken = Flag()
        """There is a new want, or the end."""
        self._ended = False
        self._observed: BackendsObserved | None = None
        self._reader = Tables()
        self._process = ""
        """Which HAProxy has what was seen last; empty when none was."""
        self._tables: list[Table] = []
        """What it had, a table for each backend of :attr:`_served`."""
        self._served: tuple[Backend, ...] = ()
        self._due = 0.0
        """When the next look at everything is due, on the monotonic clock."""

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Have exactly ``backends``, soon.  Returns at once; the latest call counts."""
        self._wanted = backends
        self._woken.set()

    async def run(self) -> None:
        """Keep HAProxy as wanted from the first :meth:`want` until cancelled."""
        self._post = poster(self._post)
        await in_thread(self._work, self._end, "haproxy-runtime")

    def _end(self) -> None:
        self._ended = True
        self._woken.set()

    def _work(self) -> None:
        self._woken.wait()
        while not self._ended:
            self._woken.clear()
            assert self._wanted is not None, "woken by the first want, or by the end"
            observed = self._serve(self._wanted)
            if observed is not None and observed != self._observed:
                self._observed = observed
                self._post(observed)
            self._woken.wait(self._pause())

    def _pause(self) -> float:
        """Return for how many seconds nothing has to be done, unless something new is wanted."""
        if not self._process:
            return RETRY_S
        if self._wanted is self._served:
            return POLL_S
        return min(POLL_S, max(RETRY_S, self._due - time.monotonic()))

    def _serve(self, wanted: tuple[Backend, ...]) -> BackendsObserved | None:
        """Return what HAProxy has after everything was done; None when nothing had to be."""
        try:
            known = time.monotonic() < self._due and self._identity() == self._process
            if known and not self._is_urgent(wanted):
                return None
            return self._reconcile(wanted, known=known)
        except OSError as error:
            self._process, self._due = "", 0.0
            trouble = explain(error, self._path)
            return BackendsObserved(reachable=False, backends=(), trouble=trouble)

    def _is_urgent(self, wanted: tuple[Backend, ...]) -> bool:
        if wanted is self._served:
            return False
        changes = self._plans(wanted) if self._knows(wanted) else None
        return changes is None or any(map(is_urgent, changes))

    def _reconcile(self, wanted: tuple[Backend, ...], *, known: bool) -> BackendsObserved:
        """``known``: what HAProxy has was read from this very process a short while ago."""
        begun = time.thread_time()
        # What is urgent does not wait for another look at a long list.
        fresh = not known or not self._knows(wanted)
        if fresh:
            self._look(wanted)
        answers = self._change(wanted)
        if answers:
            self._look(wanted)
        if not fresh and self._plans(wanted):
            # Somebody else was at work meanwhile.
            return self._reconcile(wanted, known=False)
        observed = observe(wanted, self._tables, answers)
        self._due = time.monotonic() + (time.thread_time() - begun) / SHARE
        return observed

    def _knows(self, wanted: Sequence[Backend]) -> bool:
        return [backend.name for backend in wanted] == [backend.name for backend in self._served]

    def _identity(self) -> str:
        """Return which process answers.  Raises: OSError."""
        return read_process(*exchange(self._path, [SHOW_PROCESS])) or "unknown"

    def _look(self, wanted: tuple[Backend, ...]) -> None:
        """Read what HAProxy has.  Raises: OSError."""
        # Asked before: what another process answers after that counts as this one's, and is
        # found to be another's by the next look.
        self._process = self._identity()
        asked = list(batches(map(show, wanted)))
        answers = [answer for batch in asked for answer in exchange(self._path, batch)]
        named = zip(wanted, answers, strict=True)
        self._tables = [self._reader.read(backend.name, answer) for backend, answer in named]
        self._served = wanted

    def _plans(self, wanted: tuple[Backend, ...]) -> list[Change]:
        pairs = zip(wanted, self._tables, strict=True)
        return [change for b, t in pairs if isinstance(t, dict) for change in plan(b, t)]

    def _change(self, wanted: tuple[Backend, ...]) -> dict[str, str]:
        """Give the commands that are needed; return the answer to each.  Raises: OSError."""
        answers: dict[str, str] = {}
        for batch in batches(in_order(self._plans(wanted))):
            if self._woken.is_set():
                break
            answers.update(zip(batch, exchange(self._path, batch), strict=True))
        return answers
