"""App nodes in the agent's file: their classes, the backends they serve, what is refused."""

from pathlib import Path

import pytest

from haagent.config import Loaded, load
from haagent.core.settings import (
    BackendSettings,
    HookSettings,
    NodeClassSettings,
    NodeServersSettings,
    Policy,
    WhenEmpty,
)
from haagent.core.units import DurationNs, milliseconds, seconds

from .conftest import Complain

GOOD = """\
node: lb1
cluster: shop
key_file: k
heartbeat: {paths: [{interface: eth0, reference: 192.0.2.1}]}
groups:
  web: {priority: 150, interface: eth0, addresses: [192.0.2.100]}
haproxy:
  socket: s
  backends:
    app: {nodes: {service: app}}
nodes:
  classes:
"""
"""The classes follow in line 13, after 4 spaces."""

BACKEND = "    app: {nodes: {service: app}}\n"


def loaded(tmp_path: Path, *classes: str, text: str = GOOD) -> Loaded:
    file = tmp_path / "haagent.yml"
    file.write_text(text + "".join(f"    {each}\n" for each in classes))
    return load(file)


def classes(tmp_path: Path, *lines: str) -> dict[str, NodeClassSettings]:
    nodes = loaded(tmp_path, *lines).settings.nodes
    assert nodes is not None
    return {each.name: each for each in nodes.classes}


def pace(settings: NodeClassSettings) -> tuple[DurationNs, DurationNs, DurationNs]:
    return settings.interval, settings.jitter, settings.timeout


def test_a_backend_with_nodes_is_enough(tmp_path: Path) -> None:
    settings = loaded(tmp_path, text=GOOD.partition("nodes:\n")[0]).settings

    assert settings.haproxy is not None
    assert settings.haproxy.backends == (
        BackendSettings(name="app", servers=(), nodes=NodeServersSettings(service="app")),
    )
    assert settings.nodes is not None
    assert settings.nodes.classes == (NodeClassSettings(),)


def test_without_a_word_of_nodes_none_are_heard(tmp_path: Path) -> None:
    text = GOOD.partition("haproxy:\n")[0]

    assert loaded(tmp_path, text=text).settings.nodes is None


def test_a_backend_says_which_nodes_and_how(tmp_path: Path) -> None:
    nodes = "{service: api, policy: lowest-id, when_empty: remove, check: false}"
    server = '[{name: a, address: "192.0.2.21:80"}]'
    backend = f"    app: {{servers: {server}, nodes: {nodes}}}\n"
    text = GOOD.replace(BACKEND, backend).partition("nodes:\n")[0]
    haproxy = loaded(tmp_path, text=text).settings.haproxy

    assert haproxy is not None
    assert [server.name for server in haproxy.backends[0].servers] == ["a"]
    assert haproxy.backends[0].nodes == NodeServersSettings(
        service="api", policy=Policy.LOWEST_ID, when_empty=WhenEmpty.REMOVE, check=False
    )


def test_the_default_class_comes_first_wherever_it_stands(tmp_path: Path) -> None:
    found = classes(tmp_path, "batch: {rise: 3}", "default: {rise: 5}")

    assert [(each.name, each.rise) for each in found.values()] == [("default", 5), ("batch", 3)]


def test_a_file_without_the_default_class_has_it(tmp_path: Path) -> None:
    assert [*classes(tmp_path, "batch: {rise: 3}")] == ["default", "batch"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", (1000, 100, 3100)),
        ("{profile: lan}", (1000, 100, 3100)),
        ("{profile: 1s-5s}", (1000, 100, 5000)),
        ("{profile: 2s-5s}", (2000, 0, 5000)),
        ("{profile: 5s-13s}", (5000, 1000, 13000)),
        ("{interval: 2s}", (2000, 200, 6200)),
        ("{interval: 2s, jitter: 0s}", (2000, 0, 6000)),
        ("{jitter: 500ms}", (1000, 500, 3500)),
        ("{profile: 2s-5s, timeout: 9s}", (2000, 0, 9000)),
        ("{profile: 5s-13s, interval: 4s}", (4000, 400, 12400)),
        ("{interval: 2s, jitter: 1s, timeout: 5s}", (2000, 1000, 5000)),
    ],
)
def test_the_pace_follows_from_the_profile_and_what_stands_beside_it(
    tmp_path: Path, written: str, expected: tuple[int, int, int]
) -> None:
    found = classes(tmp_path, f"default: {written}")["default"]

    assert pace(found) == tuple(milliseconds(ms) for ms in expected)


def test_hooks_of_a_class_are_hooks_as_everywhere(tmp_path: Path) -> None:
    hooks = "{on_dead: bin/dead, on_back: {url: 'https://192.0.2.9/x', timeout: 3s}}"
    found = classes(tmp_path, f"default: {hooks}")["default"]

    assert found.on_dead == HookSettings(command=(f"{tmp_path}/bin/dead",))
    assert found.on_back == HookSettings(url="https://192.0.2.9/x", timeout=seconds(3))


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (
            "a: {timeout: 2s}",
            (
                "13:18: nodes.classes.a.timeout: must be at least 2100ms, two intervals of 1s and "
                "the jitter of 100ms, or one heartbeat that is lost is a death, is '2s'"
            ),
        ),
        (
            "a: {jitter: 600ms}",
            "13:17: nodes.classes.a.jitter: must be at most half the interval of 1s, is '600ms'",
        ),
        ("a: {interval: 50ms}", "13:19: nodes.classes.a.interval: must be 100ms..20s, is '50ms'"),
        ("a: {rise: 0}", "13:15: nodes.classes.a.rise: must be 1..100, is 0"),
        (
            "a: {profile: slow}",
            "13:18: nodes.classes.a.profile: must be lan, 1s-5s, 2s-5s or 5s-13s, is 'slow'",
        ),
        (
            "a: {on_dead: {timeout: 1s}}",
            "13:9: nodes.classes.a.on_dead.command: must be given, or 'url'; is missing",
        ),
    ],
)
def test_a_class_that_cannot_be_meant_is_refused(
    complaints: Complain, written: str, complaint: str
) -> None:
    assert complaints(f"{GOOD}    {written}\n") == [complaint]


@pytest.mark.parametrize("written", ["a: {timeout: 2100ms}", "a: {jitter: 500ms}"])
def test_the_limits_themselves_are_allowed(complaints: Complain, written: str) -> None:
    assert complaints(f"{GOOD}    {written}\n") == []


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        (
            "    app: {}\n",
            "10:5: haproxy.backends.app.servers: must be given, or 'nodes'; is missing",
        ),
        (
            "    app: {nodes: {policy: static}}\n",
            "10:11: haproxy.backends.app.nodes.service: must be given, is missing",
        ),
        (
            "    app: {nodes: {service: app, policy: random}}\n",
            (
                "10:41: haproxy.backends.app.nodes.policy: must be static, weighted, least-load or "
                "lowest-id, is 'random'"
            ),
        ),
    ],
)
def test_a_backend_without_any_servers_is_refused(
    complaints: Complain, backend: str, complaint: str
) -> None:
    text = GOOD.replace(BACKEND, backend).partition("nodes:\n  classes")[0]

    assert complaints(text) == [complaint]


def doubts(tmp_path: Path, text: str) -> list[str]:
    found = loaded(tmp_path, text=text).doubts
    return [str(problem).partition("haagent.yml:")[2] for problem in found]


def test_nodes_without_a_reference_are_doubted(tmp_path: Path) -> None:
    text = GOOD.partition("nodes:\n  classes")[0]
    without = text.replace(", reference: 192.0.2.1", "")

    assert doubts(tmp_path, text) == []
    assert doubts(tmp_path, without) == [
        (
            "10:11: haproxy.backends.app.nodes: no path has a 'reference': when many app nodes die "
            "at once nobody can tell that from a fault of this server, and they stay in the backend"
        )
    ]


def test_nodes_that_no_backend_uses_are_doubted(tmp_path: Path) -> None:
    text = GOOD.partition("haproxy:\n")[0] + "nodes: {}\n"

    assert doubts(tmp_path, text) == [
        "7:1: nodes: no backend of this file has 'nodes', so none is used"
    ]
