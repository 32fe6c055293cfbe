"""The running app node: one loop that sends what :class:`~haagent.core.sender.Sender` says.

Everything that may take a while is in a thread, and comes back through an :class:`Inbox`.
SIGTERM and SIGINT end it with a goodbye, SIGHUP has it read its file again.

What this module does not do: judge anything.
"""

import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from random import SystemRandom
from typing import assert_never

from haagent.adapters.systemd import Systemd
from haagent.core.identity import BootId, boot_id
from haagent.core.messages import Discard
from haagent.core.sender import GOODBYES, Say, Sender
from haagent.core.units import DurationNs, MonoNs, between, later, seconds
from haagent.node.checks import Checks, Outcome
from haagent.node.handover import Handover, unpack
from haagent.node.inbox import Inbox, Reread
from haagent.node.load import Meter
from haagent.node.log import Level, say
from haagent.node.sockets import Open, Sockets, own_address
from haagent.wire.node import NodeEnd

UNANSWERED = seconds(10)
"""An agent answers the first heartbeat that it hears."""

_LOOK = seconds(1)
"""How long at most from one look at load and interfaces to the next."""

_ADDRESS_LOOKS = 10
"""At every one of so many looks our own address is looked up, which costs the most."""

_GOODBYE_PAUSE_S = 0.004
_CHECKS_PATIENCE_S = 0.5
_REREAD_PATIENCE_S = 30


class Node:
    """See the module docstring."""

    def __init__(self, handover: Handover, config: str) -> None:
        self._config = config
        self._selector = selectors.DefaultSelector()
        self._inbox = Inbox()
        self._selector.register(self._inbox, selectors.EVENT_READ)
        self._systemd = Systemd(os.environ)
        self._meter = Meter()
        self._ignored = 0
        self._looks = 0
        self._since = self._look_at = _now()
        self._warned = False
        self._rereads: threading.Thread | None = None
        self._take(handover, boot=_new_boot())

    def run(self) -> None:
        """Work until a signal says that it is enough."""
        self._inbox.hear_signals()
        say(Level.INFO, f"{self._settings.node} of cluster {self._settings.cluster} sends")
        self._systemd.ready(self._describe())
        while not self._inbox.ended:
            self._turn()
        self._leave()

    def _take(self, handover: Handover, boot: BootId, before: "Sender | None" = None) -> None:
        """Work by ``handover`` from now on; as the same node as ``before``."""
        self._settings = handover.settings
        self._key = handover.key
        self._boot = boot
        self._end = NodeEnd(handover.key, self._settings.cluster, self._settings.node)
        healthy = before.healthy if before else frozenset()
        self._sender = Sender(
            _now(),
            self._settings,
            boot,
            SystemRandom(),
            healthy=healthy,
            sequence=before.sequence if before else 0,
        )
        self._sockets = Sockets(self._settings, self._opened, self._closed, _warn)
        previous = self._checks if before else None
        self._checks = Checks(self._settings.services, self._inbox.put, healthy, previous)
        self._follow(force=True)
