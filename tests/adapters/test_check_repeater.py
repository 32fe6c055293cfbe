"""Checks that are made again and again, against files, ports and programs of this machine."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.adapters.checks.repeater import Repeater, Seen
from haagent.adapters.checks.result import Result
from haagent.adapters.checks.runner import Key
from haagent.core.checks import CheckSettings, CommandCheck, FileCheck, PidfileCheck, TCPCheck, What
from haagent.core.identity import GroupId
from haagent.core.units import DurationNs, milliseconds

ME = "root" if os.geteuid() == 0 else None


def check(name: str, what: What, interval: DurationNs = milliseconds(100)) -> CheckSettings:
    return CheckSettings(
        name=name, what=what, interval=interval, timeout=DurationNs(interval // 2), fall=2, rise=2
    )


@dataclass
class Bench:
    """A repeater at work, and what it has told."""

    told: list[tuple[str, bool]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.repeater = Repeater(self._tell)
        self.thread = threading.Thread(target=self.repeater.work, daemon=True)
        self.thread.start()

    def watch(self, *checks: CheckSettings) -> None:
        self.repeater.watch({(GroupId(1), check.name): check for check in checks})

    def seen(self, name: str) -> Seen:
        return self.repeater.seen.get((GroupId(1), name), Seen())

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.told}"
            pause.wait(0.005)

    def _tell(self, key: Key, _check: CheckSettings, result: Result) -> None:
        self.told.append((key[1], result.passed))
        self.texts.append(result.text)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.repeater.stop()
    bench.thread.join(5)
    assert not bench.thread.is_alive()


def test_the_first_result_is_told_at_once_and_then_only_changes(
    bench: Bench, tmp_path: Path
) -> None:
    switch = tmp_path / "off"
    bench.watch(check("switch", FileCheck(str(switch))))
    bench.until(lambda: bench.seen("switch").runs >= 3, "three runs")
    assert bench.told == [("switch", True)]

    switch.touch()
    bench.until(lambda: len(bench.told) == 2, "it fails")
    switch.unlink()
    bench.until(lambda: len(bench.told) == 3, "it passes")

    assert bench.told == [("switch", True), ("switch", False), ("switch", True)]
    seen = bench.seen("switch")
    assert (seen.failed >= 2, seen.last) == (True, Result(True, f"no file {switch}"))


def test_a_single_failure_is_seen_and_not_told(bench: Bench, tmp_path: Path) -> None:
    switch = tmp_path / "off"
    bench.watch(replace(check("switch", FileCheck(str(switch))), fall=50))
    bench.until(lambda: bench.seen("switch").runs >= 1, "a run")
    switch.touch()
    bench.until(lambda: bench.seen("switch").failed >= 2, "two failures")
    switch.unlink()
    bench.until(lambda: bench.seen("switch").last == Result(True, f"no file {switch}"), "a pass")

    assert bench.told == [("switch", True)]


def test_a_check_that_hangs_is_overdue_alone_and_never_overlaps_itself(
    bench: Bench, tmp_path: Path
) -> None:
    """A pipe that nobody writes to is opened for ever, as a file of a server that is gone."""
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    before = threading.active_count()
    bench.watch(check("hangs", PidfileCheck(str(pipe))), check("well", FileCheck("/nonexistent")))
    bench.until(lambda: ("hangs", False) in bench.told, "it is overdue")
    runs = bench.seen("well").runs
    bench.until(lambda: bench.seen("well").runs >= runs + 5, "the other goes on")

    assert bench.told == [("well", True), ("hangs", False)]
    assert bench.seen("hangs").runs == 1
    assert bench.seen("hangs").last == Result(False, "has not ended within 0.05 s")
    assert threading.active_count() <= before + 2
    pipe.write_text("1\n")  # It ends, and is made again.
    bench.until(
        lambda: (
            bench.seen("hangs").last != Result(False, "has not ended within 0.05 s")
            or bench.seen("hangs").runs > 1
        ),
        "it has ended",
    )


def test_a_program_that_does_not_end_is_killed_with_all_its_processes(
    bench: Bench, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 1000 & echo $$ $! >> {pids}; wait"
    what = CommandCheck(("sh", "-c", script), ME)
    bench.watch(replace(check("stubborn", what, milliseconds(1000)), timeout=milliseconds(500)))
    bench.until(lambda: ("stubborn", False) in bench.told, "it is overdue")
    bench.until(lambda: "did not end" in bench.texts[0] or bench.seen("stubborn").runs > 1, "ends")
    bench.watch()

    first = pids.read_text().splitlines()[0].split()
    bench.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in first), "they are gone")


def test_a_changed_check_starts_anew_and_an_unchanged_one_goes_on(
    bench: Bench, tmp_path: Path
) -> None:
    switch, other = check("switch", FileCheck(str(tmp_path))), check("other", FileCheck("/none"))
    bench.watch(switch, other)
    bench.until(lambda: bench.seen("other").runs >= 3 and bench.seen("switch").runs >= 3, "runs")
    runs = bench.seen("other").runs
    bench.told.clear()

    bench.watch(replace(switch, rise=5), other)
    bench.until(lambda: bench.told == [("switch", False)], "its first result")

    assert bench.seen("other").runs >= runs
    assert bench.seen("switch").runs < runs
    bench.watch(other)
    bench.until(lambda: bench.seen("switch") == Seen(), "it is gone")


def test_no_check_is_made_sooner_than_its_interval(bench: Bench) -> None:
    """Each run connects once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        times: list[float] = []

        def accept() -> None:
            for _ in range(6):
                server.accept()[0].close()
                times.append(time.monotonic())

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        bench.watch(check("port", TCPCheck(ip_address("127.0.0.1"), port)))
        thread.join(10)

    assert len(times) == 6
    assert times[-1] - times[0] >= 0.45
