"""Notifications really sent: to a web server and by mail, and what happens when they cannot be."""

import asyncio
import json
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from haagent.adapters import clock
from haagent.adapters.notifications import Notifications
from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import NotificationEnded
from haagent.core.notices import NotificationSettings
from tests.adapters.conftest import in_loop, until

DEAD = Record(
    number=1,
    stamp=Stamp(Hlc(1_767_225_588_123, 0), 1),
    severity=Severity.WARNING,
    kind="peer.dead",
    text="lb2 is dead",
    group="web",
    term=None,
)


class Web:
    """A web server that takes what is posted, unless it is told to fail or to hang."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.failures = 0
        """How many requests are still refused."""
        self.hangs = False
        self.released = Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if web.hangs:
                    web.released.wait(60)
                refused = web.failures > 0
                web.failures -= refused
                if not refused:
                    web.taken.append(json.loads(body))
                self.send_response(500 if refused else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}/hook"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.close()


class Post:
    """Takes mail."""

    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


def file_of(directory: Path, *addresses: str, name: str = "urls", mode: int = 0o600) -> str:
    file = directory / name
    file.touch(mode=mode)
    file.write_text("# who is on call\n\n" + "".join(f"{address}\n" for address in addresses))
    return str(file)


class Told:
    """Notifications that run, and what they posted."""

    def __init__(self, *files: str, retries_s: tuple[float, ...] = (0.1, 0.1)) -> None:
        self.events: list[NotificationEnded] = []
        entries = [NotificationSettings(urls_file=file) for file in files]
        self.notifications = Notifications(
            entries, "haagent lb1 (shop)", self.events.append, clock.now, retries_s
        )
        self.task = asyncio.create_task(self.notifications.run())

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, 30)

    async def looked_at(self, count: int = 1) -> None:
        """Wait until the services have been looked at."""
        await self.until(lambda: len(self.events) >= count)

    @property
    def troubles(self) -> list[str]:
        return [event.trouble for event in self.events]


@in_loop
async def test_what_happens_is_posted_to_a_web_server(web: Web, tmp_path: Path) -> None:
    told = Told(file_of(tmp_path, web.url))
    await told.looked_at()
    assert web.asked == 0, "looking at a service tells it nothing"

    told.notifications.tell(DEAD)
    await told.until(lambda: len(told.events) == 2)

    assert [(taken["title"], taken["message"], taken["type"]) for taken in web.taken] == [
        (
            "haagent lb1 (shop): warning: peer.dead",
            "2025-12-31 23:59:48Z warning peer.dead: lb2 is dead (web)",
            "warning",
        )
    ]
    assert told.troubles == ["", ""]


@in_loop
async def test_what_happens_is_sent_by_mail(tmp_path: Path) -> None:
    post = Post()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(post, loop=loop), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = f"mailto://127.0.0.1:{port}?from=lb1@example.org&to=oncall@example.org"
        told = Told(file_of(tmp_path, address))
        await told.looked_at()

        told.notifications.tell(DEAD)
        await told.until(lambda: len(told.events) == 2)

    assert told.troubles == ["", ""]
    (mail,) = post.mails
    assert mail["To"] == "oncall@example.org"
    assert "peer.dead" in mail["Subject"]


@in_loop
async def test_what_fails_is_tried_again_and_only_where_it_failed(web: Web, tmp_path: Path) -> None:
    other = Web()
    web.failures = 1
    told = Told(file_of(tmp_path, other.url, web.url))
    await told.looked_at()

    told.notifications.tell(DEAD)
    await told.until(lambda: len(told.events) == 3)
    other.close()

    assert (len(other.taken), len(web.taken)) == (1, 1)
    looked, failed, sent = told.troubles
    assert (looked, sent) == ("", "")
    assert failed.startswith(f"{tmp_path}/urls: service 2: ")
    assert "500" in failed


@in_loop
async def test_what_cannot_be_sent_at_all_is_counted_in_the_next(web: Web, tmp_path: Path) -> None:
    web.failures = 3
    told = Told(file_of(tmp_path, web.url))
    await told.looked_at()

    told.notifications.tell(DEAD)
    await told.until(lambda: web.taken)

    assert web.taken[0]["title"] == "haagent lb1 (shop): warning: notices that were lost"
    assert web.taken[0]["message"] == "and 1 more"


@in_loop
async def test_a_service_that_hangs_delays_neither_the_loop_nor_other_entries(
    web: Web, tmp_path: Path
) -> None:
    hanging = Web()
    hanging.hangs = True
    told = Told(file_of(tmp_path, hanging.url), file_of(tmp_path, web.url, name="others"))
    await told.looked_at(2)
    loop = asyncio.get_running_loop()
    late_s = 0.0

    told.notifications.tell(DEAD)
    while not web.taken:
        before_s = loop.time()
        await asyncio.sleep(0.01)
        late_s = max(late_s, loop.time() - before_s - 0.01)

    assert hanging.taken == []
    assert late_s < 1, "the service would hold it up for 30 s"
    hanging.close()


@in_loop
async def test_services_that_cannot_be_used_are_told_before_they_are_needed(
    web: Web, tmp_path: Path
) -> None:
    files = [
        file_of(tmp_path, web.url, "no address", name="wrong"),
        file_of(tmp_path, name="empty"),
        file_of(tmp_path, web.url, name="open", mode=0o640),
        str(tmp_path / "gone"),
    ]

    told = Told(*files)
    await told.looked_at(4)

    assert sorted(told.troubles) == [
        f"{tmp_path}/empty: has no service",
        f"{tmp_path}/gone: cannot be read: No such file or directory",
        f"{tmp_path}/open: others may use it (mode 0640): chmod 600 {tmp_path}/open",
        f"{tmp_path}/wrong: service 2: is no address of a service",
    ]
    assert web.asked == 0


@in_loop
async def test_a_reload_begins_and_ends_entries_and_leaves_the_others_alone(
    web: Web, tmp_path: Path
) -> None:
    first, second = file_of(tmp_path, web.url), file_of(tmp_path, "no address", name="second")
    told = Told(first, second)
    await told.looked_at(2)
    told.notifications.tell(DEAD)

    told.notifications.follow([NotificationSettings(urls_file=first)])
    await told.until(lambda: web.taken)

    ended = [event for event in told.events if event.urls_file == second]
    assert [bool(event.trouble) for event in ended] == [True, False], "its alarm is over"


@in_loop
async def test_at_the_end_what_is_left_is_sent_without_delay(web: Web, tmp_path: Path) -> None:
    told = Told(file_of(tmp_path, web.url))
    await told.looked_at()
    told.notifications.tell(DEAD)

    await told.notifications.finish(10)

    assert len(web.taken) == 1


@in_loop
async def test_the_end_does_not_wait_for_a_service_that_hangs(web: Web, tmp_path: Path) -> None:
    web.hangs = True
    told = Told(file_of(tmp_path, web.url))
    await told.looked_at()
    told.notifications.tell(DEAD)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()

    await told.notifications.finish(0.3)

    assert loop.time() - begun_s < 2
