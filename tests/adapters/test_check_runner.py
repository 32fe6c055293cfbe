"""Checks beside an event loop."""

import asyncio
from pathlib import Path

import pytest

from haagent.adapters.checks.runner import Checks
from haagent.core.checks import CheckSettings, FileCheck
from haagent.core.events import CheckReported, Event
from haagent.core.identity import GroupId
from haagent.core.units import milliseconds

from .conftest import in_loop

GROUP = GroupId(7)


@in_loop
async def test_what_a_check_comes_to_reaches_the_loop(tmp_path: Path) -> None:
    switch = FileCheck(str(tmp_path / "off"))
    check = CheckSettings(
        name="switch", what=switch, interval=milliseconds(100), timeout=milliseconds(50)
    )
    posted: asyncio.Queue[Event] = asyncio.Queue()
    checks = Checks(posted.put_nowait)
    running = asyncio.create_task(checks.run())
    checks.watch({(GROUP, check)})
    async with asyncio.timeout(10):
        first = await posted.get()
        (tmp_path / "off").touch()
        second = await posted.get()

    text = f"no file {switch.path}"
    assert first == CheckReported(group=GROUP, check=check, passed=True, text=text)
    assert second == CheckReported(
        group=GROUP, check=check, passed=False, text=f"{switch.path} exists"
    )
    runs = checks.runs()[GROUP, "switch"]
    assert (runs.runs >= 2, runs.failed, runs.text) == (True, 2, f"{switch.path} exists")
    assert runs.age is not None
    assert 0 <= runs.age < milliseconds(5000)
    running.cancel()


@in_loop
async def test_a_fault_of_the_timekeeper_is_not_overlooked() -> None:
    checks = Checks(lambda _: None)
    running = asyncio.create_task(checks.run())
    checks._repeater._inbox.put(42)  # type: ignore[arg-type]  # no message

    async with asyncio.timeout(10):
        with pytest.raises(AttributeError):
            await running
