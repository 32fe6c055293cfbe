"""An app node under one set of settings: its sender and its sockets.

What this module does not do: wait, or replace its settings (``haagent.node.daemon``).
"""

import os
import select
import time
from random import SystemRandom
from selectors import BaseSelector

from haagent.core.appnode.sender import GOODBYES, Endpoint, Say, Sender
from haagent.core.appnode.settings import NodeSettings
from haagent.core.identity import BootId, boot_id
from haagent.core.messages import Discard, Load
from haagent.core.settings import IPAddress
from haagent.core.units import MonoNs, between, seconds
from haagent.node.checks import Outcome
from haagent.node.handover import Handover
from haagent.node.log import Level, say
from haagent.node.sockets import Sockets, own_address
from haagent.wire.node import NodeEnd

UNANSWERED = seconds(10)
"""An agent answers the first heartbeat that it hears: who has no answer by then is told why."""

_ADDRESS_LOOKS = 10
"""At every one of so many looks the own address is looked up, which costs more than the rest."""

_GOODBYE_PAUSE_S = 0.004


class Session:
    """See the module docstring.  All methods belong to the thread of the loop."""

    def __init__(
        self,
        now: MonoNs,
        handover: Handover,
        selector: BaseSelector,
        before: "Session | None" = None,
    ) -> None:
        """``before`` is closed; the same node goes on where it ended, another begins anew."""
        settings = handover.settings
        same = before if before and before.same_node(handover) else None
        # What was found of a service stays true of a node by another name.
        healthy = before.healthy_checks(settings) if before else frozenset()
        self.identity = _identity(handover)
        self.boot: BootId = same.boot if same else _new_boot()
        self.sender: Sender = Sender(
            now,
            settings,
            self.boot,
            SystemRandom(),
            healthy=healthy,
            sequence=same.sender.sequence if same else 0,
        )
        self._settings = settings
        self._end = NodeEnd(handover.key, settings.cluster, settings.node)
        self._sockets = Sockets(settings, selector, self._heard, _warn)
        self._begun = now
        self._looks = 0
        self._missed = False
        self._ignored = 0

    def same_node(self, handover: Handover) -> bool:
        """Return whether ``handover`` is of this node, which then goes on under its boot id."""
        return self.identity == _identity(handover)

    def healthy_checks(self, settings: NodeSettings) -> frozenset[str]:
        """Return the services that are well and that ``settings`` check as before."""
        before = {service.name: service.check for service in self._settings.services}
        return frozenset(
            service.name
            for service in settings.services
            if service.name in self.sender.healthy and before[service.name] == service.check
        )

    def describe(self) -> str:
        """Return how it does, in a line for a person."""
        services = (
            f"{each.name} {'healthy' if each.name in self.sender.healthy else 'unhealthy'}"
            for each in self._settings.services
        )
        heard = "agents answer" if self.sender.answered else "no agent has answered yet"
        return f"{', '.join(services)}; {heard}"

    def tick(self, now: MonoNs) -> None:
        """Send what is due."""
        self._send(self.sender.tick(now))

    def look(self, now: MonoNs, load: Load) -> None:
        """Take in the load of the host, and how its interfaces do."""
        opened = self._sockets.follow()
        if opened or self._looks % _ADDRESS_LOOKS == 0:
            self._send(self.sender.reachable(now, self._own_address(), anew=opened))
        self._looks += 1
        self._send(self.sender.measured(now, load))
        if not (self.sender.answered or self._missed) and between(self._begun, now) > UNANSWERED:
            self._missed = True
            _warn(
                "no agent answers: does one have 'nodes' in a backend, does UDP port "
                f"{self._settings.port} pass to it and back, is the key that of its cluster?"
            )

    def checked(self, now: MonoNs, outcome: Outcome) -> None:
        """Take in what a check has found."""
        service = outcome.check.name
        if outcome.check not in [each.check for each in self._settings.services]:
            return  # It was found while the file was read again.
        word = "healthy" if outcome.passed else "unhealthy"
        level = Level.INFO if outcome.passed else Level.WARNING
        say(level, f"service {service} is {word}: {outcome.text}")
        self._send(self.sender.checked(now, service, outcome.passed))

    def leave(self) -> None:
        """Say goodbye, for good."""
        for _ in range(GOODBYES):
            self._send(self.sender.leave())
            select.select([], [], [], _GOODBYE_PAUSE_S)

    def close(self) -> None:
        """Give way to another session of the same process."""
        self._sockets.close()

    def _own_address(self) -> IPAddress | None:
        return None if self._settings.address else own_address(self._settings.paths[0])

    def _heard(self, path: int) -> None:
        for payload, source in self._sockets.receive(path):
            answer = self._end.decode(payload)
            if isinstance(answer, Discard):
                self._ignore(answer, source)
            else:
                self._send(self.sender.acknowledged(clock(), answer, source))

    def _ignore(self, discard: Discard, source: Endpoint) -> None:
        """Count a datagram that means nothing, and tell of the 1st, 10th, 100th and so on."""
        self._ignored += 1
        if str(self._ignored).strip("0") == "1":
            why = " ".join(filter(None, (discard.reason.name.lower(), discard.detail)))
            _warn(f"{self._ignored} datagrams ignored, the last from {source.address}: {why}")

    def _send(self, says: list[Say]) -> None:
        for each in says:
            self._sockets.send(each.heartbeat.path, self._end.encode(each.heartbeat), each.to)


def _identity(handover: Handover) -> tuple[str, str, bytes]:
    return handover.settings.node, handover.settings.cluster, handover.key


def clock() -> MonoNs:
    """Return the time on CLOCK_BOOTTIME."""
    return MonoNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def _new_boot() -> BootId:
    chance = int.from_bytes(os.urandom(4), "big")
    return boot_id(int(time.clock_gettime(time.CLOCK_REALTIME)), chance)


def _warn(text: str) -> None:
    say(Level.WARNING, text)
