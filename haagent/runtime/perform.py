"""Performs what the core asks for, in the order in which it asks.

An effect that fails becomes an ``ActionFailed`` event, never an exception.  Only addresses
are waited for; HAProxy, the disk and the log have threads of their own.
"""

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import assert_never

from haagent.adapters import clock
from haagent.adapters.checks.runner import Checks
from haagent.adapters.datagrams import Datagrams
from haagent.adapters.fence import Fence
from haagent.adapters.hooks import Hooks
from haagent.adapters.link import Hosts, LinkFrames
from haagent.adapters.netlink import Netlink
from haagent.adapters.notifications import Notifications
from haagent.adapters.processes import Processes
from haagent.adapters.state_file import StateFile
from haagent.core.actions import (
    AckNode,
    Action,
    AnnounceAddress,
    AskAddress,
    AskHost,
    CancelHook,
    ClaimAddress,
    CloseFence,
    CountDiscard,
    Finished,
    OpenFence,
    Record,
    ReleaseAddress,
    ReserveTerm,
    RunHook,
    SendDatagram,
    SetBackends,
    WatchChecks,
    WatchProcesses,
)
from haagent.core.events import ActionDone, ActionFailed, Event
from haagent.core.identity import NO_TERM, GroupId, Term, group_id
from haagent.core.settings import AgentSettings, FenceLevel, IPInterface
from haagent.core.units import DurationNs, MonoNs, between, seconds
from haagent.runtime import log
from haagent.runtime.discards import Discards
from haagent.runtime.fleet import Fleet
from haagent.runtime.haproxy import HAProxy
from haagent.runtime.history import History
from haagent.runtime.telemetry import Telemetry
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import encode

LAST_NET = seconds(10)
"""Lifetime of an address beside a better fence: gone even where all else fails."""


class Performer:
    """See the module docstring."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        keyring: Keyring,
        datagrams: Datagrams,
        fleet: Fleet,
        netlink: Netlink,
        fence: Fence,
        frames: LinkFrames,
        hosts: Hosts,
        processes: Processes,
        hooks: Hooks,
        checks: Checks,
        notifications: Notifications,
        history: History,
        haproxy: HAProxy | None,
        state: StateFile,
        discards: Discards,
        telemetry: Telemetry,
        post: Callable[[Event], None],
    ) -> None:
        self.serve([group.name for group in settings.groups], keyring)
        self._datagrams = datagrams
        self._fleet = fleet
        self._netlink = netlink
        self._fence = fence
        self._frames = frames
        self._hosts = hosts
        self._processes = processes
        self._hooks = hooks
        self._checks = checks
        self._notifications = notifications
        self._history = history
        self._haproxy = haproxy
        self._state = state
        self._discards = discards
        self._telemetry = telemetry
        self._post = post
        self._lifetime = LAST_NET
        if fence.level is FenceLevel.LIFETIME:
            self._lifetime = settings.heartbeat.lease
        self._prolonged: dict[tuple[str, IPInterface], MonoNs] = {}
        self._applied: dict[GroupId, Term] = {}
        """The fencing token: the highest term that any side effect carried."""
        self._left: dict[GroupId, bool] = {}
        """Whether anything of what was said last in a group has left this host."""
        self._working: set[asyncio.Task[None]] = set()

    def serve(self, groups: Iterable[str], keyring: Keyring) -> None:
        """Speak for these groups from now on."""
        self._group_names = {group_id(name): name for name in groups}
        self._keyring = keyring

    async def perform(self, actions: Sequence[Action]) -> None:
        """Perform ``actions`` one after the other."""
        self._left = {}
        for action in actions:
            await self._perform(action)

    async def _perform(self, action: Action) -> None:
        match action:
            case SendDatagram() | AckNode():
                self._send(action)
            case ClaimAddress() | ReleaseAddress() | OpenFence() | CloseFence():
                await self._change(action)
            case AnnounceAddress():
                self._announce(action)
            case AskAddress() | AskHost():
                self._ask(action)
            case WatchProcesses() | WatchChecks():
                self._watch(action)
            case SetBackends():
                self._set_backends(action)
            case ReserveTerm():
                self._reserve(action)
            case CountDiscard(source, reason):
                self._discards.count(clock.now().mono, source, reason)
            case Record():
                log.write(action)
                self._history.keep(action)
                self._notifications.tell(action)
            case RunHook() | CancelHook():
                self._hooks.perform(action)
            case Finished():
                pass
            case _:
                assert_never(action)

    def _send(self, action: SendDatagram | AckNode) -> None:
        if isinstance(action, AckNode):
            self._fleet.answer(action)
            return
        header = action.datagram.header
        source = self._datagrams.local_address(header.path)
        left = False
        if source is not None:
            payload = encode(action.datagram, self._keyring, source)
            left = self._datagrams.send(header.path, action.destination, payload)
            if left:
                self._telemetry.sent(header.path, action.datagram.body)
        self._left[header.group] = left or self._left.get(header.group, False)

    def _watch(self, action: WatchProcesses | WatchChecks) -> None:
        if isinstance(action, WatchChecks):
            self._checks.watch(action.checks)
            return
        self._processes.watch(action.places)
        self._hosts.watch(action.places)

    async def _change(self, action: ClaimAddress | ReleaseAddress | OpenFence | CloseFence) -> None:
        """Do what an address takes, and answer where the core waits for it."""
        if self._is_stale(action, action.group, action.term):
            return
        interface, address = action.interface, action.address
        try:
            match action:
                case ClaimAddress():
                    # The interface may be a new one under an old name, without a guard yet.
                    self._fence.install()
                    await self._netlink.claim(interface, address, self._lifetime)
                    self._prolonged[interface, address] = clock.now().mono
                case ReleaseAddress():
                    await self._netlink.release(interface, address)
                case OpenFence() if not self._may_open(action):
                    pass
                case OpenFence():
                    self._fence.open(interface, address.ip, action.until)
                    self._prolong(action)
                case CloseFence():
                    self._fence.close(interface, address.ip)
        except OSError as error:
            self._failed(action, error)
        else:
            if isinstance(action, ClaimAddress | ReleaseAddress):
                self._post(ActionDone(action))

    def _may_open(self, action: OpenFence) -> bool:
        """Return whether the heartbeat behind it is in time, and has left on some path."""
        return clock.now().mono < action.by and self._left.get(action.group, True)

    def _prolong(self, action: OpenFence) -> None:
        """Keep the last net: the address's own lifetime, not renewed oftener than it takes.

        Each renewal wakes everybody on the host who listens to rtnetlink.
        """
        key = (action.interface, action.address)
        now = clock.now().mono
        pause = DurationNs(0) if self._fence.level is FenceLevel.LIFETIME else self._lifetime // 2
        if between(self._prolonged.get(key, now), now) >= pause:
            self._prolonged[key] = now
            self._start(self._keep_net(action))

    async def _keep_net(self, action: OpenFence) -> None:
        try:
            await self._netlink.prolong(action.interface, action.address, self._lifetime)
        except OSError as error:
            self._failed(action, error)

    def _announce(self, action: AnnounceAddress) -> None:
        if self._is_stale(action, action.group, action.term):
            return
        try:
            self._frames.announce(action.interface, action.address.ip)
        except OSError as error:
            self._failed(action, error)

    def _ask(self, action: AskAddress | AskHost) -> None:
        if isinstance(action, AskHost):
            self._hosts.ask(action.path, action.address)
            return
        # Nobody waits for an answer, and without one all is as it was.
        with suppress(OSError):
            self._frames.ask(action.interface, action.address.ip)

    def _set_backends(self, action: SetBackends) -> None:
        if any(self._is_stale(action, group, term) for group, term in action.terms):
            return
        assert self._haproxy is not None, "backends are wanted only where HAProxy is configured"
        self._haproxy.want(action.backends)

    def _reserve(self, action: ReserveTerm) -> None:
        self._start(self._write_terms(action))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` beside the actions that follow."""
        task = asyncio.create_task(work)
        # The loop keeps only a weak reference to a task.
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _write_terms(self, action: ReserveTerm) -> None:
        name = self._group_names[action.group]
        try:
            await asyncio.to_thread(self._state.reserve, name, action.term)
        except OSError as error:
            self._failed(action, error)
        else:
            self._post(ActionDone(action))

    def _is_stale(self, action: Action, group: GroupId, term: Term) -> bool:
        newest = self._applied.get(group, NO_TERM)
        if term < newest:
            text = f"refused: term {term} is over, {newest} was applied"
            self._post(ActionFailed(action, errno.ESTALE, text))
            return True
        self._applied[group] = term
        return False

    def _failed(self, action: Action, error: OSError) -> None:
        text = str(error.strerror or error)
        self._post(ActionFailed(action, error.errno or 0, text))
