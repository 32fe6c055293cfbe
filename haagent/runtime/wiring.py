"""Puts one daemon together from a configuration, runs it, and takes it apart."""

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from threading import Thread
from typing import Any, TypeVar

from haagent.adapters import clock, process, tenure_file
from haagent.adapters.checks.runner import Checks
from haagent.adapters.datagrams import Datagrams, Received
from haagent.adapters.event_store import EventStore
from haagent.adapters.fence import Fence
from haagent.adapters.hooks import Hooks
from haagent.adapters.link import Hosts, LinkFrames
from haagent.adapters.netlink import Netlink
from haagent.adapters.notifications import Notifications
from haagent.adapters.processes import Processes
from haagent.adapters.state_file import StateFile
from haagent.adapters.systemd import Systemd, inherited
from haagent.bus.bus import Member, PeerBus
from haagent.config import ConfigurationError, KeyFileError, Loaded, read_key
from haagent.control.haagent_pb2 import (
    DrainRequest,
    EventsRequest,
    ExplainReply,
    ExplainRequest,
    FailoverReply,
    FailoverRequest,
    HaproxyReply,
    ReloadReply,
    ReloadRequest,
    StatusReply,
    SteerReply,
    UndrainRequest,
)
from haagent.control.reply import RuntimeFacts, status_reply
from haagent.control.server import Calls, ControlServer, SteerRequest, require_unused
from haagent.core.actions import Action, Record, Tenure
from haagent.core.agent import Agent
from haagent.core.events import (
    DatagramReceived,
    PathChanged,
    RestartRequested,
    SettingsChanged,
    SettingsRejected,
    StopRequested,
)
from haagent.core.identity import BootId, boot_id, group_id
from haagent.core.messages import Discard
from haagent.core.settings import AgentSettings, FenceLevel
from haagent.core.units import DurationNs, between
from haagent.observe.child import Observer
from haagent.runtime.cluster_history import ClusterHistory, Parts, reachable
from haagent.runtime.discards import Discards
from haagent.runtime.driver import Driver
from haagent.runtime.examination import Examination
from haagent.runtime.explaining import explain
from haagent.runtime.fleet import Fleet
from haagent.runtime.haproxy import HAProxy
from haagent.runtime.history import History
from haagent.runtime.http_steering import HttpSteering
from haagent.runtime.log import logger
from haagent.runtime.observing import answers
from haagent.runtime.perform import Performer
from haagent.runtime.places import Place, by_interface, kept_addresses, places
from haagent.runtime.release import release_leftovers
from haagent.runtime.reload import Outcome, RefusedError, changes, examine, names_of
from haagent.runtime.restart import FENCE_NAME, prepare
from haagent.runtime.seen import outdated
from haagent.runtime.steering import Steering
from haagent.runtime.telemetry import Telemetry
from haagent.wire.auth import Keyring, derive_bus_seed
from haagent.wire.heartbeat import decode

VERSION = version("haagent")

READ_TIMEOUT_S = 2.0
"""How long the files may take to be read: a pipe in the place of one, or a disk that is away, must
hold up neither the next reload nor an end."""

LAST_STOP_S = 2.0
"""How long hooks and notifications may take at a stop; the addresses are released by then."""

LAST_RESTART_S = 0.3
"""The same at a planned restart, when the peers wait for the next process."""

UNUSABLE = (ConfigurationError, KeyFileError, RefusedError, OSError)
"""Why a file is not taken in."""

T = TypeVar("T")


class Daemon:
    """One agent with its adapters.  To be made inside the running loop."""

    def __init__(self, config: Path, loaded: Loaded) -> None:
        """Take hold of what must be there before anything is said or claimed.

        Raises: KeyFileError, AlreadyRunning, OSError; the text says what to do.
        """
        settings = loaded.settings
        names, guarded = names_of(settings), places(settings)
        addresses = by_interface(guarded)
        self._cluster_key = read_key(loaded.key_file)
        self._keyring = Keyring(self._cluster_key, settings.cluster, names)
        self._served = names, guarded
        """The groups and the places that the adapters know."""
        self._leaving = False
        """Whether the agent may have groups or addresses that the configuration has not."""
        self._config = config
        self._loaded = loaded
        self._started = clock.now()
        self._systemd = Systemd(os.environ)
        self._state = StateFile.open(loaded.state_dir, self._started.wall)
        self._kept = tenure_file.take(loaded.state_dir, loaded.digest, self._started.mono)
        """What the process before this one has left to us at a planned restart."""
        self._restarting = False
        self._start_time = DurationNs(0)
        self._events = EventStore(loaded.state_dir)
        boot = boot_id(self._state.boot_counter, SystemRandom().getrandbits(32))
        self._history = History(self._events, settings.node, boot, clock.now)
        self._agent = self._make_agent(loaded, boot)
        self._driver = Driver(self._agent)
        post = self._driver.post
        # Before anything is claimed.
        post(self._state.steered)
        self._steering = Steering(self._state, self._agent.status, self._driver.settle)
        self._discards = Discards(post)
        self._netlink = Netlink(addresses, post, settings.heartbeat.interval)
        self._fence = Fence(addresses, settings.fence)
        self._frames = LinkFrames(addresses, post)
        self._telemetry = Telemetry(settings.heartbeat, self._started)
        self._observer = Observer(
            answers(
                status=self._agent.status,
                runtime=self._facts,
                interval=settings.heartbeat.interval,
                fence=self._fence,
                lateness=self._driver.lateness,
                telemetry=self._telemetry,
            ),
            HttpSteering(
                lambda: self._loaded.login,
                {
                    "drain": (DrainRequest, self._steer),
                    "undrain": (UndrainRequest, self._steer),
                    "failover": (FailoverRequest, self._fail_over),
                },
                lambda text: logger.info("http: %s", text),
            ).answer,
            lambda level, text: logger.log(level, "http: %s", text),
        )
        self._observer.serve(tuple(map(str, loaded.http)), login=loaded.login is not None)
        self._datagrams = Datagrams(
            settings.heartbeat,
            frozenset(address for _, address in guarded),
            self._receive,
            clock.now,
            self._path_trouble,
        )
        self._fleet = Fleet(settings, self._cluster_key, self._discards, post)
        self._hosts = Hosts(settings.heartbeat.paths, self._datagrams.local_address, post)
        self._processes = Processes(settings.heartbeat, post, logger.warning)
        self._hooks = Hooks(post, logger.warning)
        self._checks = Checks(post)
        self._notifications = Notifications(
            loaded.notifications, f"haagent {settings.node} ({settings.cluster})", post, clock.now
        )
        self._haproxy = None
        if settings.haproxy is not None:
            self._haproxy = HAProxy(settings.haproxy, post)
        self._bus = self._make_bus(boot)
        require_unused(loaded.control_socket)
        self._control = ControlServer(
            loaded.control_socket,
            self._view,
            Calls(
                reload=lambda request: asyncio.shield(self._begin(self._asked_to_reload(request))),
                steer=self._steer,
                fail_over=self._fail_over,
                explain=self._explain,
                doctor=Examination(config).examine,
                haproxy=self._inspect_haproxy,
                events=self._cluster_history().replies,
            ),
        )
        self._reloading = asyncio.Lock()
        self._begun: set[asyncio.Task[Any]] = set()
        self._performer = Performer(
            settings=settings,
            keyring=self._keyring,
            datagrams=self._datagrams,
            fleet=self._fleet,
            netlink=self._netlink,
            fence=self._fence,
            frames=self._frames,
            hosts=self._hosts,
            processes=self._processes,
            hooks=self._hooks,
            checks=self._checks,
            notifications=self._notifications,
            history=self._history,
            haproxy=self._haproxy,
            state=self._state,
            discards=self._discards,
            telemetry=self._telemetry,
            post=post,
        )

    async def run(self) -> None:
        """Run until a signal stops it; then everything is handed over and released.

        Raises: OSError when the kernel refuses what the agent cannot do without.
        """
        for note in (*self._state.notes, *process.settle()):
            logger.warning("%s", note)
        self._install_fence()
        await self._release(kept=self._kept)
        kept: tuple[Tenure, ...] = ()
        try:
            async with asyncio.TaskGroup() as group:
                self._handle_signals(group)
                tasks = [group.create_task(run()) for run in self._adapters()]
                # By then every adapter has begun as well: ready means that we listen.
                await self._control.listening.wait()
                tasks.append(group.create_task(process.collect_seldom()))
                self._start_time = between(process.started(), clock.now().mono)
                logger.info("ready: %s", self._config)
                self._systemd.ready(self._roles())
                # Not before: the start of a process would make the first heartbeat late.
                tasks.append(group.create_task(self._observer.run()))
                if self._bus:
                    tasks.append(group.create_task(self._bus.run()))
                kept = (await self._driver.run(self._performer.perform, self._observe)).kept
                limit_s = LAST_RESTART_S if kept else LAST_STOP_S
                await asyncio.gather(
                    self._hooks.finish(limit_s),
                    self._notifications.finish(limit_s),
                    self._events.finish(limit_s),
                )
                for task in tasks:
                    task.cancel()
        finally:
            if not self._left_to_next(kept):
                await self._release()
                with suppress(PermissionError):  # What ended us says more.
                    self._fence.remove()
            self._state.close()

    def _adapters(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        runs = [self._netlink.run, self._frames.run, self._datagrams.run, self._hosts.run]
        runs += [self._fleet.run, self._control.run, self._notifications.run]
        if self._fence.level is not FenceLevel.LIFETIME:
            # Otherwise the address outlives the process, and nobody may take over at its end.
            runs.append(self._processes.run)
        runs += [self._checks.run, lambda: self._events.run(self._driver.post), process.stay_frugal]
        runs.append(lambda: self._fence.run(logger.warning))
        return runs if self._haproxy is None else [*runs, *self._haproxy.runs()]

    def _install_fence(self) -> None:
        """Silence the addresses before any of them can be here, but for those left to us."""
        for tenure in self._kept:
            for interface, address in kept_addresses(self._loaded.settings, [tenure]):
                self._fence.open(interface, address.ip, tenure.until)
        self._fence.install()
        for descriptor in inherited(os.environ, FENCE_NAME):
            os.close(descriptor)
        self._systemd.forget(FENCE_NAME)
        for reason in self._fence.refused:
            logger.warning("%s", reason)
        logger.info("fence: %s", self._fence.level.value)

    async def _release(self, kept: Collection[Tenure] = ()) -> None:
        spared = kept_addresses(self._loaded.settings, kept)
        for interface, address in await release_leftovers(self._netlink, spared):
            logger.warning("removed %s from %s: left by an agent that ended", address, interface)

    def _make_bus(self, boot: BootId) -> PeerBus | None:
        if self._loaded.bus_port is None:
            return None
        cluster = self._loaded.settings.cluster
        return PeerBus(
            Member(
                cluster=cluster,
                node=self._loaded.settings.node,
                boot=boot,
                seed=derive_bus_seed(self._cluster_key, cluster),
            ),
            self._loaded.bus_port,
            peers=self._agent.peers,
            answers=self._history.replies,
            log=lambda level, text: logger.log(level, "bus: %s", text),
        )

    def _cluster_history(self) -> ClusterHistory:
        bus = self._bus

        def others() -> dict[str, str]:
            states = bus.states() if bus else {}
            remembered = self._events.last_heard
            return reachable(self._agent.peers(), states, remembered, clock.now())

        def ask(node: str, request: EventsRequest, patience_s: float) -> Parts:
            assert bus is not None, "nobody is connected without one"
            return bus.ask_events(node, request, patience_s)

        return ClusterHistory(self._history, self._loaded.settings.node, others, ask)

    def _make_agent(self, loaded: Loaded, boot: BootId) -> Agent:
        # Also those of groups that a reload may bring.
        terms = {group_id(name): term for name, term in self._state.terms.items()}
        return Agent(
            loaded.settings,
            boot,
            terms,
            SystemRandom(),
            self._kept,
            lamport=self._events.last_lamport,
            heard=self._events.last_heard,
        )

    def _handle_signals(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGUSR1, self._restart, group)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._reload()))

    def _stop(self) -> None:
        self._systemd.stopping()
        if not self._restarting:
            self._driver.post(StopRequested())

    def _restart(self, group: asyncio.TaskGroup) -> None:
        # At once: what ends a service for a restart sends SIGTERM as well.
        self._restarting = True
        group.create_task(self._leave_to_next())

    async def _leave_to_next(self) -> None:
        """End, and leave the addresses to the next process; hand over first where that fails."""
        async with self._reloading:  # which may put another guard in the place of this one
            obstacle = await self._prepare_restart()
        if obstacle:
            logger.warning("restart: the addresses are handed over first: %s", obstacle)
            self._driver.post(StopRequested())
        else:
            self._driver.post(RestartRequested())

    async def _prepare_restart(self) -> str:
        """Return why the next process cannot go on; empty when it can."""
        if hook := self._hooks.running:
            # The next one would not run it again: for its hooks nothing has changed.
            return f"a hook is running: {hook}"
        try:
            return await _within_reason(
                partial(
                    prepare,
                    config=self._config,
                    loaded=self._loaded,
                    cluster_key=self._cluster_key,
                    start_time=self._start_time,
                    fence=self._fence,
                    systemd=self._systemd,
                )
            )
        except RefusedError as error:
            return str(error)

    def _left_to_next(self, kept: Collection[Tenure]) -> bool:
        """Return whether the next process can go on with what is ``kept``."""
        if not kept:
            self._systemd.forget(FENCE_NAME)
            return False
        try:
            tenure_file.write(self._loaded.state_dir, self._loaded.digest, kept)
        except OSError as error:
            logger.error("the next process cannot go on: %s", error)
            return False
        return True

    def _begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do ``work`` in a task that nobody's going away can stop half-way, nor end the agent."""
        task = asyncio.create_task(work)
        # The loop keeps only a weak reference to a task.
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    async def _steer(self, request: SteerRequest) -> SteerReply:
        return await asyncio.shield(self._begin(self._steering.steer(request)))

    async def _fail_over(self, request: FailoverRequest) -> FailoverReply:
        return await asyncio.shield(self._begin(self._steering.fail_over(request)))

    async def _asked_to_reload(self, request: ReloadRequest) -> ReloadReply:
        if why := [*outdated(self._agent.status(), request.seen)]:
            return ReloadReply(outcome=Outcome.REFUSED.value, lines=why)
        return await (self._rehearse() if request.dry_run else self._reload())

    async def _rehearse(self) -> ReloadReply:
        """Say what a reload would come to now; what only the kernel can refuse is not tried."""
        async with self._reloading:
            try:
                changed = changes(self._loaded, await self._read())
            except UNUSABLE as error:
                return ReloadReply(outcome=_refusal(error).value, lines=str(error).splitlines())
        outcome = Outcome.APPLIED if changed else Outcome.UNCHANGED
        return ReloadReply(outcome=outcome.value, lines=changed)

    async def _reload(self) -> ReloadReply:
        async with self._reloading:
            self._systemd.reloading()
            try:
                outcome, lines = await self._take_in()
            finally:
                self._systemd.ready(self._roles())
        return ReloadReply(outcome=outcome.value, lines=lines)

    async def _take_in(self) -> tuple[Outcome, list[str]]:
        """Take in the file as it is now, or keep everything as it was and say why."""
        if self._restarting:
            return Outcome.REFUSED, ["the agent is restarting"]
        old = self._loaded
        try:
            loaded = await self._read()
            self._serve_also(loaded.settings)
        except UNUSABLE as error:
            self._telemetry.reloaded(clock.now(), accepted=False)
            await self._driver.settle(SettingsRejected(str(error)))
            return _refusal(error), str(error).splitlines()
        self._loaded = loaded
        self._fleet.change(loaded.settings.nodes)
        self._observer.serve(tuple(map(str, loaded.http)), login=loaded.login is not None)
        self._telemetry.reloaded(clock.now(), accepted=True)
        await self._driver.settle(SettingsChanged(loaded.settings))
        if self._haproxy is not None and loaded.settings.haproxy is not None:
            self._haproxy.reconfigure(loaded.settings.haproxy)
        self._leaving = True
        self._notifications.follow(loaded.notifications)
        changed = changes(old, loaded)
        return Outcome.APPLIED if changed else Outcome.UNCHANGED, changed

    async def _read(self) -> Loaded:
        """Return the file as it is now, fit to be taken in.  Raises: one of UNUSABLE."""
        groups = self._agent.status().groups
        held = {each.address.ip: g.role.group for g in groups for each in g.addresses}
        return await _within_reason(
            partial(examine, self._config, self._loaded, self._cluster_key, held)
        )

    def _serve_also(self, settings: AgentSettings) -> None:
        """Have the adapters ready for what is new, before the agent knows of it."""
        names, guarded = self._served
        # What is given up is served until it is left, and not looked for before.
        self._serve(names | names_of(settings), guarded | places(settings))
        self._leaving = False

    def _serve(self, names: frozenset[str], guarded: frozenset[Place]) -> None:
        """Have every adapter go by these groups and addresses.

        Raises: OSError when these cannot be guarded; then everything is as before.
        """
        if (names, guarded) == self._served:
            return
        if guarded != self._served[1]:
            addresses = by_interface(guarded)
            self._fence.change(addresses)
            self._netlink.watch(addresses)
            self._frames.watch(addresses)
            self._datagrams.virtual = frozenset(address for _, address in guarded)
        self._keyring = Keyring(self._cluster_key, self._loaded.settings.cluster, names)
        self._performer.serve(names, self._keyring)
        self._served = names, guarded

    def _let_go(self) -> None:
        """Serve no more what the agent has left."""
        groups = self._agent.status().groups
        names = frozenset(group.role.group for group in groups)
        guarded = frozenset((a.interface, a.address.ip) for g in groups for a in g.addresses)
        settings = self._loaded.settings
        self._leaving = (names, guarded) != (names_of(settings), places(settings))
        try:
            self._serve(names, guarded)
        except OSError as error:
            logger.warning("addresses that were given up stay guarded: %s", error)

    def _receive(self, received: Received) -> bool:
        """Return whether it is genuine: somebody with the key said it, if not just now."""
        source = received.source
        result = decode(received.payload, self._keyring, source, received.ttl)
        if isinstance(result, Discard):
            self._discards.count(received.received_at, source, result.reason, result.detail)
            return False
        self._telemetry.received(received.path, result.body)
        self._driver.post(
            DatagramReceived(
                path=received.path,
                source=source,
                received_at=received.received_at,
                datagram=result,
            )
        )
        return True

    def _path_trouble(self, path: int, text: str, carries: bool) -> None:
        if text:
            logger.warning("path %d: %s", path, text)
        else:
            logger.info("path %d: carries heartbeats", path)
        self._driver.post(PathChanged(path, text, carries))

    def _observe(self, actions: Sequence[Action]) -> None:
        self._systemd.alive()
        if self._leaving:
            self._let_go()
        if actions:
            self._control.changed()
        if any(isinstance(action, Record) for action in actions):
            self._systemd.status(self._roles())
            if self._bus:
                self._bus.look()

    def _roles(self) -> str:
        roles = (group.role for group in self._agent.status().groups)
        return ", ".join(f"{role.group}: {role.state.name.lower()}" for role in roles)

    async def _explain(self, request: ExplainRequest) -> ExplainReply:
        return await explain(request.group, self._agent.status(), clock.now(), self._history)

    async def _inspect_haproxy(self) -> list[HaproxyReply]:
        status = self._agent.status().haproxy
        if self._haproxy is None or status is None:
            return [HaproxyReply(configured=False)]
        return await self._haproxy.inspect(status)

    def _view(self) -> StatusReply:
        return status_reply(self._agent.status(), clock.now(), self._facts())

    def _facts(self) -> RuntimeFacts:
        return RuntimeFacts(
            version=VERSION,
            pid=os.getpid(),
            started=self._started.mono,
            config_file=str(self._config),
            loop_lateness=self._driver.lateness.worst,
            discards=self._discards.counts,
            fence=self._fence.level,
            fence_refused=self._fence.refused,
            checks=self._checks.runs(),
            traffic={} if self._haproxy is None else self._haproxy.traffic,
            bus=self._bus.states() if self._bus else {},
        )


def _refusal(error: Exception) -> Outcome:
    unusable = isinstance(error, ConfigurationError | KeyFileError)
    return Outcome.INVALID if unusable else Outcome.REFUSED


async def _within_reason(read: Callable[[], T]) -> T:
    """Return what ``read`` returns in a thread.  Raises: what it raises; RefusedError."""
    answer: Future[T] = Future()

    def work() -> None:
        with suppress(InvalidStateError):  # Nobody waits any more.
            try:
                answer.set_result(read())
            except Exception as error:  # It is raised where it is waited for.
                answer.set_exception(error)

    # None of a pool, whose threads are waited for at the end of the process.
    Thread(target=work, daemon=True).start()
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await asyncio.wrap_future(answer)
    except TimeoutError as error:
        msg = f"the configuration could not be read within {READ_TIMEOUT_S:.0f} s"
        raise RefusedError(msg) from error
