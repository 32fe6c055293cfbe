"""What comes of several agents: real stores behind each, and links between them that break."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from haagent.adapters import clock
from haagent.adapters.event_store import PAGE, EventStore
from haagent.bus.connection import PeerUnreachableError
from haagent.control.haagent_pb2 import EventsReply, EventsRequest
from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import BootId, NodeId
from haagent.core.status import PeerStatus
from haagent.core.units import Moment, MonoNs, WallNs, seconds
from haagent.runtime.cluster_history import ClusterHistory, Parts, reachable
from haagent.runtime.history import History

LIMIT_S = 60
"""For each story; none takes more than a few seconds."""


def record(number: int, lamport: int) -> Record:
    return Record(
        number=number,
        stamp=Stamp(Hlc(clock.now().wall // 1_000_000, 0), lamport),
        severity=Severity.NOTICE,
        kind="role.changed",
        text="x",
        group=None,
        term=None,
    )


@dataclass
class World:
    """lb1 is asked; ``trouble`` says who cannot be reached, and why."""

    histories: dict[str, History]
    trouble: dict[str, str] = field(default_factory=dict)
    asked: list[EventsRequest] = field(default_factory=list)
    broken: dict[str, asyncio.Event] = field(default_factory=dict)

    def others(self) -> dict[str, str]:
        return {name: self.trouble.get(name, "") for name in self.histories if name != "lb1"}

    async def ask(self, name: str, request: EventsRequest, _patience_s: float) -> Parts:
        """Answer as the agent of that name does, until the link is broken."""
        self.asked.append(request)
        broken = self.broken[name] = asyncio.Event()
        async with aclosing(self.histories[name].replies(request, broken)) as parts:
            async for part in parts:
                yield part
                if broken.is_set():
                    break
        if broken.is_set():
            raise PeerUnreachableError("the cable was cut")

    def cut(self, name: str) -> None:
        self.trouble[name] = "the cable was cut"
        self.broken[name].set()

    def keep(self, name: str, number: int, lamport: int) -> None:
        self.histories[name].keep(record(number, lamport))

    def replies(self, closing: asyncio.Event | None = None, *, follow: bool = False) -> Parts:
        history = ClusterHistory(self.histories["lb1"], "lb1", self.others, self.ask)
        request = EventsRequest(cluster=True, follow=follow)
        return history.replies(request, closing or asyncio.Event())

    async def all(self) -> list[EventsReply]:
        async with asyncio.timeout(LIMIT_S):
            return [part async for part in self.replies()]


@asynccontextmanager
async def world(directory: Path, *names: str) -> AsyncIterator[World]:
    stores = {}
    for name in names:
        (directory / name).mkdir()
        stores[name] = EventStore(directory / name)
    tasks = [asyncio.create_task(store.run(lambda _told: None)) for store in stores.values()]
    try:
        yield World({n: History(s, n, BootId(1), clock.now) for n, s in stores.items()})
    finally:
        for store in stores.values():
            await store.finish(10)
        for task in tasks:
            task.cancel()


def told(parts: list[EventsReply]) -> Iterator[tuple[str, int]]:
    for part in parts:
        for event in part.events:
            yield part.node, event.record.number


async def until(parts: Parts, *wanted: tuple[str, int]) -> list[EventsReply]:
    """Return what comes up to where all that is wanted was told."""
    seen: list[EventsReply] = []
    async with asyncio.timeout(LIMIT_S):
        async for part in parts:
            seen.append(part)
            if set(wanted) <= set(told(seen)):
                return seen
    raise AssertionError(wanted)


def test_each_agent_is_named_before_anything_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2", "lb3") as agents:
            for name in agents.histories:
                agents.keep(name, 1, 1)
            parts = await agents.all()

            assert {part.node for part in parts[:3]} == {"lb1", "lb2", "lb3"}
            assert not any(part.events for part in parts[:3])
            assert sorted(told(parts)) == [("lb1", 1), ("lb2", 1), ("lb3", 1)]
            assert [request.cluster for request in agents.asked] == [False, False]

    asyncio.run(story())


def test_who_cannot_be_reached_is_named_with_the_reason_and_the_others_are_told_of(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2", "lb3") as agents:
            agents.trouble["lb2"] = "silent since yesterday"
            agents.keep("lb3", 1, 1)
            parts = await agents.all()

            missing = {part.node: part.missing for part in parts if part.missing}
            assert missing == {"lb2": "silent since yesterday"}
            assert [*told(parts)] == [("lb3", 1)]

    asyncio.run(story())


def test_who_merges_has_to_keep_only_a_few_parts_of_each(tmp_path: Path) -> None:
    """All that lb2 has is newer than all that lb1 has: it comes when it can be used."""

    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2") as agents:
            for number in range(1, 5 * PAGE):
                agents.keep("lb1", number, number)
                agents.keep("lb2", number, 5 * PAGE + number)
            order = [*dict.fromkeys(told(await agents.all()))]

        first_of_lb2 = order.index(("lb2", 1))
        last_of_lb1 = order.index(("lb1", 5 * PAGE - 1))
        assert len(order) == 2 * (5 * PAGE - 1)
        assert sum(name == "lb2" for name, _ in order[first_of_lb2:last_of_lb1]) <= PAGE

    asyncio.run(story())


def test_who_follows_misses_nothing_and_sees_nothing_twice_of_who_was_cut_off(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2") as agents:
            agents.keep("lb2", 1, 1)
            async with aclosing(agents.replies(follow=True)) as parts:
                seen = await until(parts, ("lb2", 1))
                agents.keep("lb2", 2, 2)
                seen += await until(parts, ("lb2", 2))
                agents.cut("lb2")
                agents.keep("lb2", 3, 3)
                agents.keep("lb1", 1, 4)
                seen += await until(parts, ("lb1", 1))
                async with asyncio.timeout(LIMIT_S):
                    while not any(part.missing for part in seen):
                        seen.append(await anext(parts))
                agents.trouble.clear()
                seen += await until(parts, ("lb2", 3))

            assert [*told(seen)] == [("lb2", 1), ("lb2", 2), ("lb1", 1), ("lb2", 3)]
            missing = [part for part in seen if part.missing]
            assert [(part.node, part.missing) for part in missing] == [("lb2", "the cable was cut")]

    asyncio.run(story())


def test_who_follows_is_told_of_an_agent_that_comes_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2") as agents:
            later = agents.histories.pop("lb2")
            async with aclosing(agents.replies(follow=True)) as parts:
                agents.keep("lb1", 1, 1)
                await until(parts, ("lb1", 1))
                agents.histories["lb2"] = later
                agents.keep("lb2", 1, 2)
                await until(parts, ("lb2", 1))

    asyncio.run(story())


def test_it_ends_at_once_when_the_agent_does(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2") as agents:
            agents.keep("lb2", 1, 1)
            closing = asyncio.Event()
            async with aclosing(agents.replies(closing, follow=True)) as parts:
                await until(parts, ("lb2", 1))
                closing.set()
                async with asyncio.timeout(LIMIT_S):
                    rest = [part async for part in parts]

            assert [*told(rest)] == []

    asyncio.run(story())


def test_without_cluster_nobody_else_is_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path, "lb1", "lb2") as agents:
            agents.keep("lb1", 1, 1)
            history = ClusterHistory(agents.histories["lb1"], "lb1", agents.others, agents.ask)
            parts = [part async for part in history.replies(EventsRequest(), asyncio.Event())]

            assert [*told(parts)] == [("lb1", 1)]
            assert agents.asked == []

    asyncio.run(story())


def peer(name: str, *, alive: bool) -> PeerStatus:
    return PeerStatus(
        name=name,
        node=NodeId(1),
        boot=BootId(1),
        alive=alive,
        last_heard=MonoNs(seconds(40)),
        hears_us=alive,
        paths=(),
        roles=(),
    )


def test_why_an_agent_cannot_be_asked_is_told_as_far_as_it_is_known() -> None:
    now = Moment(MonoNs(seconds(100)), WallNs(seconds(1_000_000)))
    peers = [peer("lb2", alive=True), peer("lb3", alive=False), peer("lb4", alive=True)]
    bus = {"lb2": "connected", "lb4": "refused"}

    assert reachable(peers, bus, ["lb3", "lb5"], now) == {
        "lb2": "",
        "lb3": "silent since 1970-01-12T13:45:40Z",
        "lb4": "refused",
        "lb5": "not heard since this agent has started",
    }
