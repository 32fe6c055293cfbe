"""Hooks really run: in which order, how often, with what, and how they end."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from haagent.adapters.hooks import MOST_OF_NODES, Hooks
from haagent.core.actions import CancelHook, Fact, RunHook
from haagent.core.events import HookEnded
from haagent.core.settings import HookSettings
from haagent.core.units import milliseconds, seconds
from tests.adapters.conftest import in_loop, until

ME = "root" if os.geteuid() == 0 else None
FACTS: tuple[Fact, ...] = (
    ("event", "master"),
    ("term", 7),
    ("previous", None),
    ("addresses", ("192.0.2.1/32", "2001:db8::1/128")),
)


def shell(script: str, **changes: object) -> HookSettings:
    hook = HookSettings(command=("sh", "-c", script), timeout=seconds(10), retries=0, user=ME)
    return replace(hook, **changes)  # type: ignore[arg-type]


def asked(
    hook: HookSettings, kind: str = "master", queue: str = "group web", facts: object = None
) -> RunHook:
    return RunHook(queue=queue, kind=kind, hook=hook, facts=facts or FACTS)  # type: ignore[arg-type]


def lives(pid: Path) -> bool:
    """Return whether there is a process of the number in the file ``pid``."""
    return Path(f"/proc/{pid.read_text().strip()}").exists()


@dataclass
class Watched:
    """Hooks, and how they ended."""

    ended: list[HookEnded] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        self.hooks = Hooks(self.ended.append, self.reports.append, self.retry_s)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for ``condition``, looked at often."""
        await until(condition, 15)

    @property
    def results(self) -> list[tuple[str, bool, str]]:
        return [(each.action.kind, each.ok, each.text) for each in self.ended]


@in_loop
async def test_a_hook_is_told_the_facts_on_its_input_and_in_its_environment(
    tmp_path: Path,
) -> None:
    told = tmp_path / "told"
    watched = Watched()

    watched.hooks.perform(asked(shell(f"cat > {told}; env | grep ^HAAGENT_ | sort >> {told}")))
    await watched.until(lambda: watched.ended)

    assert watched.results == [("master", True, "done")]
    facts, *variables = told.read_text().splitlines()
    assert json.loads(facts) == {
        "event": "master",
        "term": 7,
        "previous": None,
        "addresses": ["192.0.2.1/32", "2001:db8::1/128"],
    }
    assert variables == [
        "HAAGENT_ADDRESSES=192.0.2.1/32 2001:db8::1/128",
        "HAAGENT_EVENT=master",
        "HAAGENT_PREVIOUS=",
        "HAAGENT_TERM=7",
    ]


@in_loop
async def test_one_runs_at_a_time_and_only_the_newest_of_those_that_wait(tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    watched = Watched()

    def noted(name: str) -> HookSettings:
        wait = f"while [ ! -e {go} ]; do sleep 0.02; done"
        return shell(f"echo {name} begins >> {log}; {wait}; echo {name} ends >> {log}")

    watched.hooks.perform(asked(noted("first"), "master"))
    await watched.until(log.exists)
    watched.hooks.perform(asked(noted("second"), "backup"))
    watched.hooks.perform(asked(noted("third"), "master"))
    go.touch()
    await watched.until(lambda: len(watched.ended) == 2)

    assert log.read_text().splitlines() == [
        "first begins",
        "first ends",
        "third begins",
        "third ends",
    ]
    assert watched.hooks.running == ""


@in_loop
async def test_any_and_other_groups_do_not_wait_for_it(tmp_path: Path) -> None:
    watched = Watched()
    watched.hooks.perform(asked(shell("exec sleep 300"), "master"))

    for kind, queue in (("any", "group web"), ("before_claim", "group web"), ("x", "group mail")):
        watched.hooks.perform(asked(shell("exit"), kind, queue))
    await watched.until(lambda: len(watched.ended) == 3)

    assert sorted(kind for kind, _, _ in watched.results) == ["any", "before_claim", "x"]
    await watched.hooks.finish(0)


@in_loop
async def test_what_fails_is_tried_again_and_told_each_time(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    watched = Watched(retry_s=0.05)

    watched.hooks.perform(asked(shell(f"[ -e {mark} ] || {{ touch {mark}; exit 3; }}", retries=5)))
    await watched.until(lambda: len(watched.ended) == 2)

    assert watched.results == [
        ("master", False, "ended with exit code 3; it is tried again"),
        ("master", True, "done"),
    ]


@in_loop
async def test_it_is_not_tried_oftener_than_was_said() -> None:
    watched = Watched(retry_s=0.02)

    watched.hooks.perform(asked(shell("exit 1", retries=2)))
    await watched.until(lambda: not watched.hooks.running)

    assert [text.partition(";")[0] for _, _, text in watched.results] == [
        "ended with exit code 1"
    ] * 3
    assert "tried again" not in watched.results[-1][2]


@in_loop
async def test_a_newer_one_ends_the_retries_of_an_older() -> None:
    watched = Watched()
    watched.hooks.perform(asked(shell("exit 1", retries=9), "master"))
    await watched.until(lambda: watched.ended)

    watched.hooks.perform(asked(shell("exit"), "backup"))
    await watched.until(lambda: not watched.hooks.running)

    assert [(kind, ok) for kind, ok, _ in watched.results] == [("master", False), ("backup", True)]


@in_loop
async def test_a_hook_that_hangs_is_ended_in_time() -> None:
    watched = Watched()

    watched.hooks.perform(asked(shell("exec sleep 300", timeout=milliseconds(200))))
    await watched.until(lambda: watched.ended)

    (result,) = watched.ended
    assert not result.ok
    assert result.text.startswith("did not end within its time")
    assert milliseconds(200) <= result.took < seconds(3)


@in_loop
async def test_a_cancelled_hook_ends_and_nobody_hears_of_it(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    watched = Watched()
    action = asked(shell(f"echo $$ > {begun}; exec sleep 300", retries=5), "before_claim")
    watched.hooks.perform(action)
    await watched.until(lambda: begun.exists() and begun.read_text())

    watched.hooks.perform(CancelHook(action))
    await watched.until(lambda: not watched.hooks.running)

    assert watched.ended == []
    assert not lives(begun)


@in_loop
async def test_a_cancelled_hook_does_not_begin_and_another_goes_on(tmp_path: Path) -> None:
    begun, go, made = tmp_path / "begun", tmp_path / "go", tmp_path / "made"
    watched = Watched()
    script = f"touch {begun}; while [ ! -e {go} ]; do sleep 0.02; done"
    runs = asked(shell(script), "before_claim")
    waits = replace(runs, hook=shell(f"touch {made}"))
    watched.hooks.perform(runs)
    await watched.until(begun.exists)
    watched.hooks.perform(waits)

    watched.hooks.perform(CancelHook(waits))
    watched.hooks.perform(CancelHook(asked(shell("exit"), queue="group unheard of")))
    go.touch()
    await watched.until(lambda: not watched.hooks.running)

    assert [event.action for event in watched.ended] == [runs]
    assert not made.exists()


@in_loop
async def test_at_the_end_there_is_time_for_what_runs_and_what_waits(tmp_path: Path) -> None:
    log = tmp_path / "log"
    watched = Watched()
    script = f"echo master >> {log}; sleep 0.2"
    watched.hooks.perform(asked(shell(script), "master"))
    await watched.until(log.exists)
    watched.hooks.perform(asked(shell(f"echo stop >> {log}; exit 4"), "stop"))
    assert watched.hooks.running == "master of group web"

    await watched.hooks.finish(10)

    assert log.read_text().splitlines() == ["master", "stop"]
    assert watched.reports == ["hook stop of group web: ended with exit code 4"]


@in_loop
async def test_at_the_end_nothing_is_left_behind_whatever_it_does(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    watched = Watched()
    stubborn = shell(f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.1; done", retries=9)
    watched.hooks.perform(asked(stubborn, "master"))
    await watched.until(lambda: pid.exists() and pid.read_text())

    await watched.hooks.finish(0.1)

    assert not lives(pid)
    assert watched.reports == ["hook ended with the agent: master of group web"]


@in_loop
async def test_the_hooks_of_a_fleet_are_not_as_many_processes(tmp_path: Path) -> None:
    watched = Watched()
    count = f"echo >> {tmp_path}/$$; ls {tmp_path} | wc -l; sleep 0.05; rm {tmp_path}/$$"
    for number in range(3 * MOST_OF_NODES):
        watched.hooks.perform(asked(shell(count), "on_dead", f"node app{number}"))

    await watched.until(lambda: len(watched.ended) == 3 * MOST_OF_NODES)

    most = max(int(event.text.rpartition(" ")[2]) for event in watched.ended)
    assert 1 < most <= MOST_OF_NODES


class Web:
    """A web server that answers as it is told."""

    def __init__(self, status: int = 204, *, hangs: bool = False) -> None:
        self.requests: list[tuple[str, str | None, str]] = []
        released = self.released = Event()
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                requests.append((self.path, self.headers["Content-Type"], body))
                if hangs:
                    released.wait(20)
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=1"

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def webhook(url: str, timeout_ms: int = 10_000) -> HookSettings:
    return HookSettings(url=url, timeout=milliseconds(timeout_ms), retries=0)


@in_loop
async def test_a_webhook_posts_the_facts() -> None:
    watched = Watched()
    with Web() as web:
        watched.hooks.perform(asked(webhook(web.url)))
        await watched.until(lambda: watched.ended)

    ((path, kind, body),) = web.requests
    assert (path, kind) == ("/hook?key=1", "application/json")
    assert json.loads(body)["addresses"] == ["192.0.2.1/32", "2001:db8::1/128"]
    assert watched.results == [("master", True, "done: 204 No Content")]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_other_answer_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    async def go() -> None:
        watched = Watched()
        with Web(status) as web:
            watched.hooks.perform(asked(webhook(web.url)))
            await watched.until(lambda: watched.ended)
        assert len(web.requests) == 1
        assert watched.ended[0].text.startswith(f"ended with exit code 1: {status} ")

    asyncio.run(go())


@in_loop
async def test_a_server_that_is_not_there_is_told() -> None:
    watched = Watched()
    with Web() as web:
        url = web.url

    watched.hooks.perform(asked(webhook(url)))
    await watched.until(lambda: watched.ended)

    assert watched.results == [
        ("master", False, "ended with exit code 1: 127.0.0.1: [Errno 111] Connection refused")
    ]


@in_loop
async def test_a_server_that_hangs_is_given_up_in_time() -> None:
    watched = Watched()
    with Web(hangs=True) as web:
        watched.hooks.perform(asked(webhook(web.url, 500)))
        await watched.until(lambda: watched.ended)

    (result,) = watched.ended
    assert not result.ok
    assert result.took < seconds(3)


@in_loop
async def test_the_loop_goes_on_while_hooks_run() -> None:
    """Even one that does not begin to read its large input, and one that talks without end."""
    watched = Watched()
    loop = asyncio.get_running_loop()
    for number in range(4):
        name = f"group g{number}"
        watched.hooks.perform(asked(shell("sleep 0.5; cat > /dev/null"), "master", name))
        watched.hooks.perform(asked(shell("timeout 0.5 yes"), "any", name))
    late_s = 0.0
    while watched.hooks.running:
        before_s = loop.time()
        await asyncio.sleep(0.01)
        late_s = max(late_s, loop.time() - before_s - 0.01)

    assert len(watched.ended) == 8
    assert late_s < 0.4, "a loop that waited would be half a second late"
