"""App nodes through real sockets and the wire format: what the core hears, what is counted."""

import asyncio
import contextlib
from ipaddress import IPv4Address

from haagent.core.actions import AckNode
from haagent.core.events import NodesHeard
from haagent.core.identity import NodeId
from haagent.core.messages import DiscardReason, NodeAck
from haagent.core.settings import (
    AgentSettings,
    HeartbeatSettings,
    NodesSettings,
    PathSettings,
)
from haagent.runtime.discards import Discards
from haagent.runtime.fleet import Fleet
from tests.adapters.conftest import Pair, in_loop, until
from tests.adapters.test_node_datagrams import (
    APP1,
    CLUSTER_KEY,
    FAR4,
    FORGED,
    NEAR4,
    PORT,
    node,
    said,
)

SETTINGS = AgentSettings(
    node="lb1",
    cluster="example",
    heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
    groups=(),
    nodes=NodesSettings(),
)


def test_a_genuine_heartbeat_is_an_event_and_a_forged_one_is_counted(pair: Pair) -> None:
    events: list[NodesHeard] = []
    discards = Discards(lambda _: None)
    fleet = Fleet(SETTINGS, CLUSTER_KEY, discards, events.append)

    @in_loop
    async def story() -> None:
        running = asyncio.create_task(fleet.run())
        await asyncio.sleep(0)
        with node(pair, NEAR4) as far:
            far.sendto(FORGED, (str(NEAR4), PORT))
            far.sendto(said(3), (str(NEAR4), PORT))
            await until(lambda: events)

            (heard,) = events[0].heard
            assert (heard.source, heard.heartbeat.sequence) == (FAR4, 3)
            assert discards.counts == {(FAR4, DiscardReason.BAD_MAC): 1}

            ack = NodeAck(
                destination=heard.heartbeat.sender,
                agent=NodeId(1),
                boot=heard.heartbeat.boot,
                sequence=3,
                nonce=9,
                interval_ms=1000,
                jitter_ms=100,
            )
            fleet.answer(AckNode(ack, heard.source, heard.port, heard.way))
            assert APP1.decode(far.recv(2000)) == ack
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    story()


def test_a_reload_may_bring_app_nodes_and_take_them_away(pair: Pair) -> None:
    events: list[NodesHeard] = []
    fleet = Fleet(SETTINGS, CLUSTER_KEY, Discards(lambda _: None), events.append)
    fleet.change(None)

    @in_loop
    async def story() -> None:
        running = asyncio.create_task(fleet.run())
        await asyncio.sleep(0)
        with node(pair, IPv4Address("10.77.0.1")) as far:

            def heard() -> bool:
                far.sendto(said(1), (str(NEAR4), PORT))
                return bool(events)

            fleet.change(NodesSettings())
            await until(heard)
            fleet.change(None)
            await until(lambda: not fleet._datagrams._open)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    story()
