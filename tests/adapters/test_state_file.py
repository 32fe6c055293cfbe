"""The state file against real disks: full, read-only, spoilt, cut off in the middle."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.adapters.state_file import AlreadyRunning, StateFile
from haagent.core.events import Steered
from haagent.core.identity import Term
from haagent.core.units import WallNs, seconds

WALL = WallNs(seconds(1_800_000_000))
"""A plausible wall clock; its seconds are the counter of a first start."""


NOT_STEERED = Steered(maintenance=False, paused=False)
DRAINED = Steered(maintenance=True, paused=False, until=WallNs(seconds(1_900_000_000)))


@contextlib.contextmanager
def opened(directory: Path, wall: WallNs = WALL) -> Iterator[StateFile]:
    state = StateFile.open(directory, wall)
    try:
        yield state
    finally:
        state.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "haagent", mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


def fill(disk: Path) -> Path:
    """Fill ``disk`` to the last byte; return the file that does."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


# What is kept


def test_a_first_start_counts_from_the_seconds_of_the_wall_clock(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        assert (state.boot_counter, dict(state.terms), state.notes) == (1_800_000_000, {}, ())


def test_each_start_counts_one_more_while_the_wall_clock_stands_still(tmp_path: Path) -> None:
    counters = []
    for _ in range(3):
        with opened(tmp_path) as state:
            counters.append(state.boot_counter)

    assert counters == [1_800_000_000, 1_800_000_001, 1_800_000_002]


def test_the_counter_rises_though_the_wall_clock_falls(tmp_path: Path) -> None:
    with opened(tmp_path) as first, pytest.raises(AlreadyRunning):
        StateFile.open(tmp_path, WALL)
    with opened(tmp_path, WallNs(0)) as second:
        assert second.boot_counter == first.boot_counter + 1


def test_reserved_terms_survive_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.reserve("web", Term(7))
        state.reserve("db", Term(2**63 - 1))
        state.reserve("web", Term(9))

    with opened(tmp_path) as state:
        assert state.terms == {"web": 9, "db": 2**63 - 1}


def test_a_lower_term_is_not_reserved(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.reserve("web", Term(9))
        with (tmp_path / "state.json").open() as written:
            state.reserve("web", Term(8))
            state.reserve("web", Term(9))

            assert state.terms == {"web": 9}
            now = (tmp_path / "state.json").stat()
            assert os.path.samestat(now, os.fstat(written.fileno())), "written without need"


def test_what_the_operator_wants_survives_a_restart_beside_the_terms(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        assert state.steered == NOT_STEERED
        state.reserve("web", Term(7))
        state.steer(DRAINED)
        state.reserve("web", Term(9))

    with opened(tmp_path) as state:
        assert (state.steered, state.terms) == (DRAINED, {"web": 9})
        state.steer(NOT_STEERED)
    with opened(tmp_path) as state:
        assert (state.steered, state.terms) == (NOT_STEERED, {"web": 9})


def test_a_file_of_a_version_that_could_not_be_steered_is_read(tmp_path: Path) -> None:
    old = {"format": 1, "boot_counter": 1_900_000_000, "terms": {"web": 7}}
    (tmp_path / "state.json").write_text(json.dumps(old))

    with opened(tmp_path) as state:
        assert (state.boot_counter, state.terms) == (1_900_000_001, {"web": 7})
        assert (state.steered, state.notes) == (NOT_STEERED, ())


def test_threads_that_reserve_at_once_lose_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        threads = [
            threading.Thread(target=state.reserve, args=(f"group{number}", Term(number + 1)))
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with opened(tmp_path) as state:
        assert state.terms == {f"group{number}": number + 1 for number in range(20)}


def test_a_missing_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "haagent"

    with opened(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "state.json").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError, match="file/haagent"):
        StateFile.open(tmp_path / "file" / "haagent", WALL)


# One agent to a directory


def test_a_second_agent_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    """And may start as soon as the first is gone, however it went."""
    program = (
        "import sys, pathlib\n"
        "from haagent.adapters.state_file import StateFile\n"
        f"state = StateFile.open(pathlib.Path({str(tmp_path)!r}), 0)\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(AlreadyRunning, match=f"in use by process {first.pid};"):
            StateFile.open(tmp_path, WALL)
        first.kill()

    with opened(tmp_path) as state:
        assert state.notes == ()


def test_a_second_agent_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path):
        before = (tmp_path / "state.json").read_bytes()
        with pytest.raises(AlreadyRunning):
            StateFile.open(tmp_path, WALL)

        assert (tmp_path / "state.json").read_bytes() == before


# Disks that do not play along


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format": 1, "boot_coun',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"format": 2, "boot_counter": 1, "terms": {}}',
        b'{"format": 1, "boot_counter": -1, "terms": {}}',
        b'{"format": 1, "boot_counter": 4294967296, "terms": {}}',
        b'{"format": 1, "boot_counter": 1, "terms": {"web": "7"}}',
        b'{"format": 1, "boot_counter": 1, "terms": {}, "maintenance": "no"}',
        b'{"format": 1, "boot_counter": 1, "terms": {}, "paused": 1}',
        b'{"format": 1, "boot_counter": 1, "terms": {}, "maintenance_until": "soon"}',
        b'{"format": 1, "boot_counter": 1, "terms": {}, "maintenance_until": -1}',
        b'{"format": 1, "boot_counter": 1, "terms": {}, "maintenance_until": 9223372036854775808}',
        b'{"format": 1, "boot_counter": 1, "terms": {"web": 18446744073709551616}}',
        b"[]",
    ],
    ids=lambda content: repr(content[:60]),
)
def test_a_spoilt_file_is_kept_aside_and_the_agent_starts_afresh(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "state.json").write_bytes(content)

    with opened(tmp_path) as state:
        assert (state.boot_counter, dict(state.terms)) == (1_800_000_000, {})
        (note,) = state.notes
    assert note.startswith(f"cannot read {tmp_path}/state.json: ")
    afresh = "started afresh, neither drained nor paused"
    assert note.endswith(f"; kept as state.json.corrupt-1; {afresh}")
    assert (tmp_path / "state.json.corrupt-1").read_bytes() == content
    with opened(tmp_path) as state:
        assert (state.boot_counter, state.notes) == (1_800_000_001, ())


def test_a_second_spoilt_file_does_not_replace_the_first(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "state.json").write_text(content)
        with opened(tmp_path):
            pass

    assert (tmp_path / "state.json.corrupt-1").read_text() == "first"
    assert (tmp_path / "state.json.corrupt-2").read_text() == "second"


def test_what_a_power_cut_left_behind_is_ignored_and_does_not_pile_up(tmp_path: Path) -> None:
    with opened(tmp_path) as state:
        state.reserve("web", Term(7))
    (tmp_path / "state.json.new").write_text('{"format": 1, "boot_counter": 99')

    with opened(tmp_path) as state:
        assert (state.terms, state.notes) == ({"web": 7}, ())
    assert os.listdir(tmp_path) == ["state.json"]  # noqa: PTH208


def test_a_full_disk_costs_a_note_and_boot_ids_still_rise(disk: Path) -> None:
    with opened(disk) as state:
        state.reserve("web", Term(7))
    before = state.boot_counter
    ballast = fill(disk)

    with opened(disk, WallNs(WALL + seconds(100))) as state:
        assert (state.boot_counter, state.terms) == (before + 100, {"web": 7})
        (note,) = state.notes
        assert note.startswith(f"cannot write {disk}/state.json: No space left on device; ")

    ballast.unlink()
    with opened(disk, WallNs(WALL + seconds(101))) as state:
        assert (state.boot_counter, state.terms) == (before + 101, {"web": 7})
        assert state.notes == ()


def test_a_term_that_found_the_disk_full_holds_and_is_written_once_there_is_room(
    disk: Path,
) -> None:
    with opened(disk) as state:
        ballast = fill(disk)
        with pytest.raises(OSError, match=r"cannot write .*/state\.json: No space left on device"):
            state.reserve("web", Term(7))
        assert state.terms == {"web": 7}
        assert json.loads((disk / "state.json").read_text())["terms"] == {}

        ballast.unlink()
        state.reserve("web", Term(7))

    with opened(disk) as state:
        assert state.terms == {"web": 7}


def test_what_the_operator_wants_is_refused_by_a_full_disk_and_never_written_later(
    disk: Path,
) -> None:
    with opened(disk) as state:
        ballast = fill(disk)
        with pytest.raises(OSError, match=r"cannot write .*/state\.json: No space left on device"):
            state.steer(DRAINED)
        assert state.steered == NOT_STEERED

        ballast.unlink()
        state.reserve("web", Term(7))

    with opened(disk) as state:
        assert (state.steered, state.terms) == (NOT_STEERED, {"web": 7})


def test_a_full_disk_that_was_never_written_still_gives_a_counter(disk: Path) -> None:
    fill(disk)

    with opened(disk) as state:
        assert state.boot_counter == 1_800_000_000
        assert len(state.notes) == 1


def test_a_read_only_disk_costs_a_note_and_is_still_locked(disk: Path) -> None:
    (disk / "state.json").write_text("spoilt")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    with opened(disk) as state:
        assert state.boot_counter == 1_800_000_000
        unreadable, unwritable = state.notes
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            StateFile.open(disk, WALL)
        with pytest.raises(OSError, match="Read-only file system"):
            state.reserve("web", Term(7))
        assert state.terms == {"web": 7}
    assert "; left as it is (Read-only file system); started afresh, " in unreadable
    assert unwritable.startswith(f"cannot write {disk}/state.json: Read-only file system")
