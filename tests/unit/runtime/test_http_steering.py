"""Who may steer over HTTP, and what he is answered."""

import asyncio
import base64
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from haagent.config.login import Login
from haagent.config.password import password_line
from haagent.control.haagent_pb2 import (
    DrainRequest,
    FailoverReply,
    FailoverRequest,
    Seen,
    SteerReply,
    UndrainRequest,
)
from haagent.runtime.http_steering import TRIES, TRIES_OF_ALL, HttpSteering, filled_in

PASSWORD = "correct horse battery"


@dataclass
class Agent:
    """What is steered; remembers what it was asked."""

    login: Login | None
    asked: list[object] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    reply: SteerReply = field(default_factory=lambda: SteerReply(outcome="applied"))

    def __post_init__(self) -> None:
        self.steering = HttpSteering(
            lambda: self.login,
            {
                "drain": (DrainRequest, self.steer),
                "undrain": (UndrainRequest, self.steer),
                "failover": (FailoverRequest, self.fail_over),
            },
            self.log.append,
        )

    async def steer(self, request: DrainRequest | UndrainRequest) -> SteerReply:
        self.asked.append(request)
        return self.reply

    async def fail_over(self, request: FailoverRequest) -> FailoverReply:
        self.asked.append(request)
        return FailoverReply(outcome="begun", to="lb2")

    def ask(
        self,
        action: str = "drain",
        body: str = "{}",
        *,
        who: str = f"ops:{PASSWORD}",
        scheme: str = "Basic",
        source: str = "192.0.2.50",
    ) -> tuple[int, dict[str, object]]:
        """Return code and body of the answer."""
        question = {
            "action": action,
            "body": body,
            "authorization": f"{scheme} {base64.b64encode(who.encode()).decode()}",
            "source": source,
        }
        answer = json.loads(asyncio.run(self.steering.answer(json.dumps(question))))
        return answer["code"], answer["body"]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    file = tmp_path / "http.password"
    file.touch(mode=0o600)
    file.write_text(password_line(PASSWORD))
    return Agent(Login("ops", file))


def test_who_has_the_login_is_answered_as_at_the_control_socket(agent: Agent) -> None:
    assert agent.ask("drain", '{"for_ms": 60000, "seen": [{"group": "web", "term": 26}]}') == (
        200,
        {"outcome": "applied", "lines": [], "until": ""},
    )
    code, told = agent.ask("failover", '{"group": "web", "to": "lb2", "force": true, "id": "a"}')

    assert (code, told["outcome"], told["to"]) == (200, "begun", "lb2")
    assert agent.asked == [
        DrainRequest(for_ms=60_000, seen=[Seen(group="web", term=26)]),
        FailoverRequest(group="web", to="lb2", force=True, id="a"),
    ]
    assert agent.log == [
        "ops from 192.0.2.50: drain: applied",
        "ops from 192.0.2.50: failover: begun",
    ]


def test_a_refusal_comes_with_its_reasons(agent: Agent) -> None:
    agent.reply = SteerReply(outcome="refused", lines=["nobody could take web over"])

    code, told = agent.ask("undrain")

    assert (code, told["lines"]) == (409, ["nobody could take web over"])


@pytest.mark.parametrize(
    ("who", "scheme"),
    [
        (f"root:{PASSWORD}", "Basic"),
        (f"OPS:{PASSWORD}", "Basic"),
        ("ops:", "Basic"),
        ("ops", "Basic"),
        (":", "Basic"),
        ("", ""),
        ("ops:wrong", "Basic"),
        (f"ops:{PASSWORD}", "Bearer"),
    ],
)
def test_nobody_else_is_let_in(agent: Agent, who: str, scheme: str) -> None:
    code, told = agent.ask(who=who, scheme=scheme)

    assert (code, told["lines"]) == (401, ["wrong user or password"])
    assert agent.asked == []
    assert agent.log == ["wrong user or password from 192.0.2.50"]


def test_credentials_that_are_none_are_wrong_and_harm_nothing(agent: Agent) -> None:
    for authorization in ("", "Basic", "Basic ==", "Basic /w==", "Basic é", "\0"):
        question = {"action": "drain", "body": "", "authorization": authorization, "source": "a"}
        agent.steering = HttpSteering(lambda: agent.login, {}, agent.log.append)
        answer = json.loads(asyncio.run(agent.steering.answer(json.dumps(question))))
        assert answer["code"] == 401


def test_without_a_login_nobody_is_let_in(agent: Agent) -> None:
    agent.login = None

    assert agent.ask()[0] == 401
    assert agent.ask(who=":")[0] == 401
    assert agent.asked == []


def test_an_unusable_password_file_lets_nobody_in_and_the_log_says_why(agent: Agent) -> None:
    assert agent.login is not None
    agent.login.password_file.chmod(0o644)

    code, told = agent.ask()

    assert (code, told["lines"]) == (503, ["nobody can log in: the agent's log says why"])
    assert "chmod 600" in agent.log[0]
    assert agent.asked == []


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '{"forse": true}', '{"seen": 1}', '{"for_ms": -1}']
)
def test_a_request_that_cannot_be_read_is_refused_and_does_nothing(agent: Agent, body: str) -> None:
    code, told = agent.ask(body=body)

    assert (code, told["outcome"]) == (400, "refused")
    assert agent.asked == []


FIELDS = st.sampled_from(["group", "to", "force", "seen", "term", "id", "@type", ""]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
    max_leaves=8,
)


@given(st.dictionaries(FIELDS, JSON).map(json.dumps) | st.text())
def test_no_body_is_more_than_refused(body: str) -> None:
    with suppress(ValueError):
        assert isinstance(filled_in(FailoverRequest(), body), FailoverRequest)


def test_who_guesses_is_kept_out_and_others_are_not(agent: Agent) -> None:
    for _ in range(TRIES):
        assert agent.ask(who="ops:wrong")[0] == 401

    code, told = agent.ask()

    assert (code, told["lines"]) == (429, ["too many wrong passwords: wait a minute"])
    assert agent.ask(source="192.0.2.51")[0] == 200
    assert len(agent.asked) == 1


def test_many_who_guess_keep_everybody_out(agent: Agent) -> None:
    # An agent without a login takes no time to say no.
    login, agent.login = agent.login, None
    for number in range(TRIES_OF_ALL):
        assert agent.ask(source=f"192.0.2.{number}")[0] == 401
    agent.login = login

    assert agent.ask(source="198.51.100.1")[0] == 429
    assert agent.asked == []


def test_the_right_password_is_no_guess(agent: Agent) -> None:
    for _ in range(TRIES + 1):
        assert agent.ask()[0] == 200
