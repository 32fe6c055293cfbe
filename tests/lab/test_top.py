"""``haagent top`` of real agents: it shows a failover as it happens, and its keys steer."""

import asyncio
import os
from html import unescape
from pathlib import Path

from haagent.cli.top.app import Top
from haagent.lab.agents import Agent
from haagent.lab.cluster import VIP_IPV4
from tests.lab.conftest import Begin
from tests.unit.cli.test_top import gone, shown

SIZE = (100, 34)
CAPTURE = Path(__file__).parents[2] / "docs/images/top-failover.svg"


async def captured_failover(master: Agent, backup: Agent) -> str:
    """Kill ``master`` while the screen shows the cluster as ``backup`` sees it; return that."""
    app = Top(backup.control_socket)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "group web: master lb1", "192.0.2.100/32 on lb1", "app/lb1-local")
        master.process.kill()
        await shown(
            pilot,
            "group web: master lb2",
            "192.0.2.100/32 on lb2",
            "was master when last heard",
            "peer.dead: the process of lb1 has ended",
            "role.changed web: backup -> master: the process of the",
            "app/spare",
        )
        return app.export_screenshot(title="haagent top")


async def steered(agent: Agent) -> None:
    """Have ``agent`` give its group to lb2, drain it, and end that, by keys alone."""
    app = Top(agent.control_socket)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "group web: master lb1")
        await pilot.press("f", "enter")
        await shown(pilot, "Group web goes from lb1 to lb2")
        await pilot.press("y")
        await shown(pilot, "the handover to lb2 has begun", "group web: master lb2")
        await pilot.press("d")
        await shown(pilot, "lb1 is master of no group: no address moves")
        await pilot.press("y")
        await shown(pilot, "WARNING agent.maintenance for")
        await pilot.press("u", "y")
        await gone(pilot, "agent.maintenance for")


def test_the_screen_shows_a_failover_and_its_keys_move_the_group(
    begin: Begin, tmp_path: Path
) -> None:
    site = begin()
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]

    site.lab.wait_until(
        lambda: site.status("lb2").peers[0].paths[0].HasField("loss_permille"), 30, "its loss"
    )
    picture = asyncio.run(captured_failover(lb1, lb2))

    file = CAPTURE if os.environ.get("HAAGENT_UPDATE") else tmp_path / CAPTURE.name
    file.parent.mkdir(exist_ok=True)
    file.write_text(picture)
    text = unescape(file.read_text()).replace("\N{NO-BREAK SPACE}", " ")
    for words in ("master lb2", "192.0.2.100/32 on lb2", "peer.dead", "backup -> master"):
        assert words in text
    assert str(site.lab.directory) not in text

    lb1.start()
    site.settle_all()
    asyncio.run(steered(lb1))
    assert site.holders(VIP_IPV4) == ["lb2"], "an undrained agent leaves what was moved where it is"
    assert site.reigns("lb2")[-1].startswith("was chosen by an operator")
