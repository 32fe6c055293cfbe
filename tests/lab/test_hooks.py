"""Hooks of real agents: when they run, and that an address waits for what comes before it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haagent.lab.cluster import VIP_IPV4
from haagent.lab.host import Host
from haagent.lab.services import Service
from tests.lab.conftest import BY_ROLE, Begin, Site

MS = 1_000_000
SECOND = 1000 * MS

NOTE = "echo $HAAGENT_EVENT $HAAGENT_PREVIOUS $HAAGENT_REASON >> {file}"


def with_hooks(**hooks: str) -> Callable[[str], str]:
    """Return the pair's configurations with these hooks of group web."""
    written = ", ".join(f"{kind}: {hook}" for kind, hook in hooks.items())

    def configuration(name: str) -> str:
        text = BY_ROLE(name)
        assert "    addresses:" in text
        return text.replace("    addresses:", f"    hooks: {{{written}}}\n    addresses:")

    return configuration


def noted_in(directory: Path) -> Callable[[str], str]:
    """Return the configurations whose hooks note in a file of each agent what they are told."""

    def configuration(name: str) -> str:
        note = NOTE.format(file=directory / name)
        hook = f"{{command: [sh, -c, '{note}'], user: root}}"
        kinds = ("master", "backup", "fault", "stop")
        return with_hooks(**dict.fromkeys(kinds, hook))(name)

    return configuration


def script(file: Path, body: str) -> str:
    """Return a hook that notes when it begins, and does ``body``."""
    file.with_suffix(".py").write_text(
        f"import time\nnote = open({str(file)!r}, 'a', buffering=1)\n"
        f"note.write(f'begins {{time.monotonic_ns()}}\\n')\n{body}\n"
        f"note.write(f'ends {{time.monotonic_ns()}}\\n')\n"
    )
    return f"{sys.executable}, -I, {file.with_suffix('.py')}"


def times(file: Path, word: str) -> list[int]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[str], list[str]]:
    def read(name: str) -> list[str]:
        file = tmp_path / name
        return file.read_text().splitlines() if file.exists() else []

    return read


def test_hooks_follow_the_roles_and_nothing_else(
    begin: Begin, tmp_path: Path, notes: Callable[[str], list[str]]
) -> None:
    site = begin(noted_in(tmp_path))
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]
    site.lab.wait_until(lambda: notes("lb1") and notes("lb2"), 10, "the first roles are told")
    before = {name: notes(name) for name in ("lb1", "lb2")}
    assert [len(each) for each in before.values()] == [1, 1], before

    for _ in range(3):
        assert lb1.reload().returncode == 0
    moved = site.agents["lb1"].process.stop()
    site.settle(lb2="master")
    site.lab.wait_until(lambda: len(notes("lb2")) == 2, 10, "lb2 is told that it is master")

    assert lb1.process.exit_code == 0, moved
    assert notes("lb1")[1:] in (
        ["backup master handed_over", "stop backup stopping"],
        # The first may still run when both have come.
        ["stop backup stopping"],
    )
    assert notes("lb2")[1:] == ["master backup handover"]
    hooks = {(hook.queue, hook.kind): hook.ok for hook in site.status("lb2").hooks}
    assert hooks == {("group web", "backup"): True, ("group web", "master"): True}
    assert site.alarms("lb2").keys() & {"hook.failed"} == set()
    assert lb2.process.exit_code is None


def ended(site: Site, kind: str) -> bool:
    """Whether the newest hook of this kind on lb1 has ended."""
    return any(each.kind == kind for each in site.status("lb1").hooks)


def test_a_planned_restart_that_keeps_the_addresses_is_no_news_for_hooks(
    begin: Begin, tmp_path: Path, notes: Callable[[str], list[str]]
) -> None:
    site = begin(noted_in(tmp_path))
    with Service(site.agents["lb1"]) as lb1:
        lb1.agent.process.stop()
        lb1.start()
        site.settle_all()
        site.lab.wait_until(lambda: notes("lb1")[-1:] == ["master backup handover"], 10, "told")
        told = notes("lb1")
        # While one runs a restart hands over first, and what it has noted it has not yet ended.
        site.lab.wait_until(lambda: ended(site, "master"), 10, "the hook has ended")

        lb1.restart()
        site.settle_all()

        assert site.role("lb1").reason == "restarted"
        assert notes("lb1") == told


def test_the_address_comes_when_what_comes_before_it_has_ended(
    begin: Begin, tmp_path: Path
) -> None:
    file = tmp_path / "before"
    command = script(file, "time.sleep(0.7)")
    site = begin(
        lambda name: (
            with_hooks(before_claim=f"{{command: [{command}], user: root, timeout: 5s}}")(name)
            if name == "lb2"
            else BY_ROLE(name)
        )
    )
    addresses = site.watch_addresses("lb2")
    assert not file.exists(), "a backup claims nothing"

    killed = site.agents["lb1"].process.kill()
    site.lab.wait_until(lambda: site.role("lb2").state == "master", 10, "lb2 is master")
    assert site.holders(VIP_IPV4) != ["lb2"]
    site.settle(lb2="master")

    (began,), (ended,) = times(file, "begins"), times(file, "ends")
    claimed = addresses.heard("added", killed)[0][0]
    assert killed < began < ended < claimed < ended + 200 * MS
    assert "before_claim comes first, for 5000 ms at most" in site.records("lb2", "claim.waits")


def test_the_address_comes_at_the_deadline_of_what_hangs(begin: Begin, tmp_path: Path) -> None:
    file = tmp_path / "before"
    command = script(file, "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(300)")
    site = begin(
        lambda name: (
            with_hooks(before_claim=f"{{command: [{command}], user: root, timeout: 1s}}")(name)
            if name == "lb2"
            else BY_ROLE(name)
        )
    )
    addresses = site.watch_addresses("lb2")

    killed = site.agents["lb1"].process.kill()
    site.settle(lb2="master")

    (began,) = times(file, "begins")
    claimed = addresses.heard("added", killed)[0][0]
    assert 0.8 * SECOND < claimed - began < 1.3 * SECOND
    assert site.alarms("lb2")["hook.failed"] == (
        "before_claim of group web: has not ended within 1000 ms, nobody waits any more"
    )
    assert site.status("lb2").runtime.loop_lateness_ms < 200, "a heartbeat is due"


class Board:
    """A web server on a host, that keeps what was posted to it."""

    SCRIPT = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("", 8099), Handler).serve_forever()
"""

    def __init__(self, host: Host) -> None:
        self._process = host.start("board", sys.executable, "-c", self.SCRIPT)

    @property
    def posted(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._process.log_text().splitlines()]


def test_people_are_told_and_a_webhook_is_called_while_heartbeats_stay_punctual(
    begin: Begin, tmp_path: Path
) -> None:
    """The board is on app1, 192.0.2.21; what hangs is an address that nobody has."""
    for name, address in (("urls", "192.0.2.21:8099"), ("dead", "192.0.2.99:8099")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(f"json://{address}/\n")

    def configuration(name: str) -> str:
        hooks = with_hooks(
            master="{url: 'http://192.0.2.21:8099/'}", any="{url: 'http://192.0.2.99:8099/'}"
        )
        people = "".join(
            f"  - {{urls_file: {tmp_path / file}, severity: notice}}\n" for file in ("urls", "dead")
        )
        return f"{hooks(name)}\nnotifications:\n{people}"

    site = begin(configuration)
    board = Board(site.cluster.apps["app1"])

    site.agents["lb1"].process.kill()
    site.settle(lb2="master")

    def called() -> list[dict[str, Any]]:
        return [each for each in board.posted if each.get("node") == "lb2"]

    def told() -> list[str]:
        messages = [each for each in board.posted if "title" in each]
        assert {each["title"].partition(" (")[0] for each in messages} <= {
            "haagent lb1",
            "haagent lb2",
        }
        return [each["message"] for each in messages if "peer.dead: " in each["message"]]

    site.lab.wait_until(lambda: called() and told(), 15, "the webhook and the message")

    assert [(hook["event"], hook["previous"]) for hook in called()] == [("master", "backup")]
    assert "role.changed: backup -> master: the process of the master ended" in told()[0]
    assert site.status("lb2").runtime.loop_lateness_ms < 200, "a heartbeat is due"
