"""The loop of a running app node.

SIGTERM and SIGINT end it with a goodbye; SIGHUP has a child read its file again, and what the
child finds wrong changes nothing.

What this module does not do: say what is sent, and when (``haagent.core.appnode.sender``).
"""

import os
import selectors
import subprocess
import sys
import threading
from typing import assert_never

from haagent.adapters.systemd import Systemd
from haagent.core.units import MonoNs, milliseconds, seconds
from haagent.node.checks import Checks, Fault, Outcome
from haagent.node.handover import Handover, unpack
from haagent.node.inbox import Inbox, News, Reload, Reread, Stop
from haagent.node.load import Meter
from haagent.node.log import Level, say
from haagent.node.session import Session, clock

_BETWEEN_LOOKS = milliseconds(500), seconds(1)
"""At least, or every short peak were news; and at most, however long the interval."""

_REREAD_PATIENCE_S = 30


class Daemon:
    """See the module docstring."""

    def __init__(self, handover: Handover, config: str) -> None:
        """``config`` is the file that ``handover`` was read from."""
        self._config = config
        self._handover = handover
        self._selector = selectors.DefaultSelector()
        self._inbox = Inbox()
        self._selector.register(self._inbox, selectors.EVENT_READ, self._take_in)
        self._systemd = Systemd(os.environ)
        self._meter = Meter()
        self._look_at = now = clock()
        self._session = Session(now, handover, self._selector)
        self._checks = Checks(self._inbox.put)
        self._checks.watch(handover.settings.services)
        self._told = ""
        self._reading = False
        self._stopping = False

    def run(self) -> None:
        """Send heartbeats until a signal says that it is enough."""
        self._inbox.hear_signals()
        self._look(clock())
        settings = self._handover.settings
        say(Level.INFO, f"node {settings.node} of cluster {settings.cluster} sends heartbeats")
        self._ready()
        while not self._stopping:
            self._turn()
        self._systemd.stopping()
        self._checks.stop()
        self._session.leave()
        say(Level.INFO, "stopped")

    def _turn(self) -> None:
        due = min(self._session.sender.deadline(), self._look_at)
        for key, _ in self._selector.select(max(0, due - clock()) / 1e9):
            key.data()
        now = clock()
        self._session.tick(now)
        if now >= self._look_at:
            self._look(now)
        self._systemd.alive()

    def _look(self, now: MonoNs) -> None:
        self._session.look(now, self._meter.look())
        # Twice an interval: a step of the load is seen before the next heartbeat.
        least, most = _BETWEEN_LOOKS
        self._look_at = MonoNs(now + min(max(least, self._session.sender.interval // 2), most))
        if (text := self._session.describe()) != self._told:
            self._told = text
            self._systemd.status(text)

    def _ready(self) -> None:
        self._told = self._session.describe()
        self._systemd.ready(self._told)

    def _take_in(self) -> None:
        for news in self._inbox.take():
            self._act(news)

    def _act(self, news: News) -> None:
        match news:
            case Stop():
                self._stopping = True
            case Outcome():
                self._session.checked(clock(), news)
            case Fault(error):
                raise error
            case Reload():
                self._reload()
            case Reread():
                self._replace(news)
            case _:
                assert_never(news)

    def _reload(self) -> None:
        """Have the file read in a child, and meanwhile go on."""
        if self._reading:
            return
        self._reading = True
        self._systemd.reloading()
        threading.Thread(target=self._read_file, daemon=True).start()

    def _read_file(self) -> None:
        """Runs in a thread."""
        command = (sys.executable, "-I", "-m", "haagent.cli.node", self._config)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_REREAD_PATIENCE_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self._inbox.put(Reread("", str(error)))
            return
        self._inbox.put(Reread(done.stdout, done.stderr if done.returncode else ""))

    def _replace(self, reread: Reread) -> None:
        """Work by the file as it is now, unless it is refused."""
        self._reading = False
        for line in reread.problems.splitlines():
            say(Level.ERROR, line)
        try:
            handover = self._handover if reread.problems else unpack(reread.text)
        except (ValueError, KeyError, TypeError) as error:
            # Another version has been installed meanwhile.
            say(Level.ERROR, f"cannot take in the file without a restart: {error!r}")
            handover = self._handover
        if reread.problems:
            say(Level.ERROR, f"{self._config} is refused, what it said before goes on")
        elif handover == self._handover:
            say(Level.INFO, f"{self._config} changes nothing")
        else:
            self._switch(handover)
        self._ready()

    def _switch(self, handover: Handover) -> None:
        if not self._session.same_node(handover):
            self._session.leave()
        self._session.close()
        self._handover = handover
        now = clock()
        self._session = Session(now, handover, self._selector, self._session)
        self._checks.watch(handover.settings.services)
        self._look(now)
        say(Level.INFO, f"{self._config} is taken in")
