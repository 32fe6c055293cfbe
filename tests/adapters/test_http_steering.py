"""Steering, as far as the server's process is concerned: what it passes on, and what not."""

import asyncio
import json

import pytest

from tests.adapters.conftest import in_loop
from tests.adapters.test_observer import World, serving

JSON = "Content-Type: application/json"
DONE = b'{"code": 200, "body": {"outcome": "applied", "lines": []}}'


async def post(world: World, path: str, body: str, *fields: str) -> tuple[str, str]:
    """Return head and body of the answer."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body.encode())}", *fields]
    return await world.send("\r\n".join([*lines, "", body]).encode())


@in_loop
async def test_without_a_login_there_is_no_way_to_steer_and_nothing_on_the_page() -> None:
    async with serving() as (world, _):
        for action in ("drain", "undrain", "failover"):
            head, _ = await post(world, f"/api/v1/{action}", "{}", JSON)
            assert head.startswith("HTTP/1.1 404")

        _, page = await world.get("/")
        assert "main.js" in page
        assert "steering" not in page
        assert await world.get("/page/steering.js") == (404, "Not Found\n")
        assert world.told == []


@in_loop
async def test_with_a_login_the_agent_is_told_everything_and_answers() -> None:
    async with serving(login=True) as (world, _):
        world.done = [DONE]
        body = '{"group": "web",\n "to": "\u00e9"}'

        head, answer = await post(
            world, "/api/v1/failover", body, JSON, "Authorization: Basic b3Bz"
        )

        assert head.startswith("HTTP/1.1 200")
        assert json.loads(answer) == {"outcome": "applied", "lines": []}
        assert [json.loads(each) for each in world.told] == [
            {
                "action": "failover",
                "source": "127.0.0.1",
                "authorization": "Basic b3Bz",
                "body": body,
            }
        ]
        assert '"page/steering.js"' in (await world.get("/"))[1]
        assert (await world.get("/page/steering.js"))[0] == 200


@in_loop
async def test_a_refusal_of_the_agent_is_passed_on_with_its_code() -> None:
    async with serving(login=True) as (world, _):
        world.done = [b'{"code": 401, "body": {"outcome": "refused", "lines": ["wrong"]}}', DONE]

        head, answer = await post(world, "/api/v1/drain", "{}", JSON)

        assert head.startswith("HTTP/1.1 401")
        assert 'WWW-Authenticate: Basic realm="haagent"' in head
        assert json.loads(answer)["lines"] == ["wrong"]
        assert (await post(world, "/api/v1/drain", "{}", JSON))[0].startswith("HTTP/1.1 200")


NOT_PASSED_ON = {
    "a form of another site": ("{}", ("Content-Type: text/plain",), 415),
    "no type": ("{}", (), 415),
    "too much": ("x" * 4097, (JSON,), 413),
    "too much when it is written down": ("\x01" * 4000, (JSON,), 413),
}


@pytest.mark.parametrize(("body", "fields", "code"), NOT_PASSED_ON.values(), ids=NOT_PASSED_ON)
def test_what_no_page_of_ours_sends_is_not_passed_on(
    body: str, fields: tuple[str, ...], code: int
) -> None:
    @in_loop
    async def refused() -> None:
        async with serving(login=True) as (world, _):
            head, _ = await post(world, "/api/v1/drain", body, *fields)

            assert head.startswith(f"HTTP/1.1 {code}")
            assert world.told == []
            assert (await world.get("/api/v1/drain"))[0] == 405
            assert (await world.get("/healthz"))[0] == 200

    refused()


@in_loop
async def test_many_who_steer_at_once_are_answered_one_after_the_other() -> None:
    async with serving(login=True) as (world, _):
        answers = [{"code": 200, "body": {"number": number}} for number in range(20)]
        world.done = [json.dumps(each).encode() for each in answers]

        came = await asyncio.gather(*(post(world, "/api/v1/drain", "{}", JSON) for _ in range(20)))

        numbers = [json.loads(body)["number"] for _, body in came]
        assert sorted(numbers) == [*range(20)]
        assert len(world.told) == 20
