"""The file of an app node: what is accepted, and every word of what is not."""

import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from haagent.config import ConfigurationError, is_of_a_node, load_node, new_key, new_node_key
from haagent.config.node_model import MOST_SERVICES
from haagent.core.appnode.settings import NodePathSettings, NodeSettings, ServiceSettings
from haagent.core.checks import CheckSettings, CommandCheck, HTTPCheck, TCPCheck
from haagent.core.identity import BootId, node_id
from haagent.core.messages import Load, NodeHeartbeat, Service
from haagent.core.units import milliseconds, seconds
from haagent.wire.node import NodeEnd

CONF = Path(__file__).parents[3] / "conf"

SMALLEST = """\
cluster: shop
key_file: node.key
heartbeat: {paths: [{interface: eth0}]}
services:
  app: {port: 8080}
"""

GOOD = """\
node: app1
cluster: shop
key_file: node.key
heartbeat:
  paths:
    - interface: eth0
    - interface: eth1
      agents: [192.0.2.11, 192.0.2.12]
services:
  app:
    port: 8080
    check: {tcp: "127.0.0.1:8080", interval: 5s}
  batch:
    port: 9000
    check: {exec: [/bin/true], user: nobody}
"""


def write(directory: Path, text: str) -> Path:
    file = directory / "node.yml"
    file.write_text(text)
    return file


def complaints(directory: Path, text: str) -> list[str]:
    file = write(directory, text)
    try:
        load_node(file)
    except ConfigurationError as error:
        return [line.removeprefix(f"{file}:") for line in str(error).splitlines()]
    return []


def test_a_small_file_leaves_everything_else_at_the_defaults_of_the_settings(
    tmp_path: Path,
) -> None:
    assert load_node(write(tmp_path, SMALLEST)).settings == NodeSettings(
        node=socket.gethostname(),
        cluster="shop",
        paths=(NodePathSettings(interface="eth0"),),
        services=(ServiceSettings(name="app", port=8080),),
    )


def test_the_full_example_says_what_it_says() -> None:
    settings = load_node(CONF / "node.yml").settings

    assert settings == NodeSettings(
        node="app1",
        cluster="shop",
        node_class="default",
        address=IPv4Address("192.0.2.21"),
        interval=seconds(1),
        port=6941,
        paths=(
            NodePathSettings(interface="eth0"),
            NodePathSettings(
                interface="eth1",
                agents=(IPv4Address("198.51.100.11"), IPv4Address("198.51.100.12")),
            ),
        ),
        services=(
            ServiceSettings(
                name="app",
                port=8080,
                check=CheckSettings(
                    name="app",
                    what=HTTPCheck(url="http://127.0.0.1:8080/health"),
                    interval=seconds(2),
                    timeout=seconds(1),
                ),
            ),
            ServiceSettings(
                name="mail",
                port=25,
                check=CheckSettings(
                    name="mail",
                    what=TCPCheck(IPv4Address("127.0.0.1"), 25),
                    interval=seconds(2),
                    timeout=seconds(1),
                ),
            ),
            ServiceSettings(
                name="batch",
                port=9000,
                check=CheckSettings(
                    name="batch",
                    what=CommandCheck(("/usr/local/bin/batch-is-well", "--quiet")),
                    interval=seconds(10),
                    timeout=seconds(5),
                ),
            ),
        ),
    )


def test_a_time_limit_that_is_not_given_fits_the_interval(tmp_path: Path) -> None:
    text = GOOD.replace("interval: 5s", "interval: 500ms")

    (app, batch) = load_node(write(tmp_path, text)).settings.services

    assert app.check is not None
    assert app.check.timeout == milliseconds(250)
    assert batch.check is not None
    assert batch.check.timeout == seconds(1)


def test_a_path_of_ipv6_and_a_class_are_taken(tmp_path: Path) -> None:
    text = SMALLEST.replace("eth0}", 'eth0, group: "ff02::114"}') + "class: blue\n"

    settings = load_node(write(tmp_path, text)).settings

    assert settings.node_class == "blue"
    assert settings.paths[0].targets == (IPv6Address("ff02::114"),)


def test_the_file_that_all_others_spoil_is_good(tmp_path: Path) -> None:
    assert complaints(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("node: app1", "node: 1", "1:7: node: must be text in quotes, is 1"),
        ("cluster: shop\n", "", "1:1: cluster: must be given, is missing"),
        ("node: app1", "nood: app1", "1:1: nood: unknown key 'nood', did you mean 'node'?"),
        ("node: app1", "clas: a", "1:1: clas: unknown key 'clas', did you mean 'class'?"),
        (
            "- interface: eth1",
            "- interface: eth0",
            (
                "7:18: heartbeat.paths[1].interface: must be given once, is already "
                "heartbeat.paths[0].interface in line 6"
            ),
        ),
        (
            "      agents:",
            "      group: 224.0.0.254\n      agents:",
            (
                "8:7: heartbeat.paths[1].group: must be left out where 'agents' are given, "
                "heartbeats go to these alone"
            ),
        ),
        (
            "192.0.2.12]",
            "192.0.2.11]",
            (
                "8:28: heartbeat.paths[1].agents[1]: must be given once, is already "
                "heartbeat.paths[1].agents[0] in line 8"
            ),
        ),
        (
            "192.0.2.12]",
            '"2001:db8::1"]',
            (
                "8:28: heartbeat.paths[1].agents[1]: must be of the same IP version as the first "
                "agent of the path, is '2001:db8::1'"
            ),
        ),
        ("port: 8080", "port: 0", "11:11: services.app.port: must be 1..65535, is 0"),
        (
            'tcp: "127.0.0.1:8080", ',
            "",
            "12:5: services.app.check: must have one of tcp, http and exec",
        ),
        (
            'tcp: "127.0.0.1:8080", ',
            'tcp: "127.0.0.1:8080", http: "http://127.0.0.1/", ',
            (
                "12:36: services.app.check.http: must be the only kind of check, 'tcp' is given "
                "as well"
            ),
        ),
        (
            'tcp: "127.0.0.1:8080"',
            "http: localhost",
            (
                "12:19: services.app.check.http: must be http:// or https://, an IP address (no "
                "name: looking it up takes a time that nobody limits), a port if it is not the "
                "usual one, and a path, is 'localhost'"
            ),
        ),
        (
            'tcp: "127.0.0.1:8080"',
            "http: http://127.0.0.1:70000/",
            (
                "12:19: services.app.check.http: must have a port 1..65535, is "
                "'http://127.0.0.1:70000/'"
            ),
        ),
        (
            "interval: 5s}",
            "timeout: 2s}",
            ("12:45: services.app.check.timeout: must be less than the interval, 2s, is '2s'"),
        ),
        (
            "interval: 5s}",
            "user: nobody}",
            "12:36: services.app.check.user: must be left out without 'exec', has no effect",
        ),
        (
            "interval: 5s}",
            "fall: 0}",
            "12:42: services.app.check.fall: must be 1..100, is 0",
        ),
        (
            "exec: [/bin/true]",
            "exec: []",
            "15:19: services.batch.check.exec: must have at least one entry, is an empty list",
        ),
        (
            "check: {exec: [/bin/true], user: nobody}",
            "check: yes",
            "15:12: services.batch.check: must be a mapping, is yes, which YAML reads as true",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert GOOD.count(old) == 1, old

    assert complaint in complaints(tmp_path, GOOD.replace(old, new))


def services(count: int) -> str:
    names = (f"{'s' * 60}{n:03}" for n in range(count))
    return "services:\n" + "".join(f"  {name}: {{port: 65535, weight: 256}}\n" for name in names)


def test_more_services_than_a_heartbeat_holds_are_refused(tmp_path: Path) -> None:
    head = SMALLEST.partition("services:")[0]

    assert complaints(tmp_path, head + services(MOST_SERVICES + 1)) == [
        f"5:3: services: must have at most {MOST_SERVICES} entries, is a mapping"
    ]


def test_as_many_as_are_allowed_fit_whatever_their_names(tmp_path: Path) -> None:
    name = "n" * 63
    head = SMALLEST.partition("services:")[0] + f"node: {name}\nclass: {name}\n"
    settings = load_node(write(tmp_path, head + services(MOST_SERVICES))).settings
    heartbeat = NodeHeartbeat(
        sender=node_id(name),
        boot=BootId(1),
        sequence=1,
        path=0,
        interval_ms=60_000,
        nonce=1,
        leaving=False,
        load=Load(cpu_permille=1000, memory_permille=1000, queue_percent=1),
        name=name,
        node_class=name,
        address=IPv6Address("2001:db8::1"),
        services=tuple(
            Service(name=each.name, port=each.port, weight=each.weight, healthy=True)
            for each in settings.services
        ),
    )

    assert len(NodeEnd(bytes(32), "shop", name).encode(heartbeat)) <= 1232


@pytest.mark.parametrize("text", [SMALLEST, GOOD, "services: 1\n"])
def test_a_file_with_services_and_no_groups_is_of_a_node(tmp_path: Path, text: str) -> None:
    assert is_of_a_node(write(tmp_path, text))


@pytest.mark.parametrize("text", ["groups: {}\nservices: {}\n", "a\n", "[services]\n"])
def test_any_other_file_is_taken_for_an_agents(tmp_path: Path, text: str) -> None:
    assert not is_of_a_node(write(tmp_path, text))


def test_a_missing_key_and_a_missing_interface_are_warnings(tmp_path: Path) -> None:
    text = SMALLEST.replace("eth0", "none0")

    warnings = load_node(write(tmp_path, text)).warnings

    assert [each.place for each in warnings] == [
        ("key_file",),
        ("heartbeat", "paths", 0, "interface"),
    ]


def test_the_key_of_this_node_is_no_warning_and_a_cluster_key_is(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    key = tmp_path / "node.key"
    key.touch(0o600)

    key.write_text(new_node_key(bytes(32), "shop", "app1"))
    assert ("key_file",) not in [each.place for each in load_node(file).warnings]

    key.write_text(new_key())
    (first, *_) = load_node(file).warnings
    assert "is a cluster key, which belongs on the agents alone" in first.text


def test_a_program_begins_at_the_directory_of_the_file_and_is_missed(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD.replace("[/bin/true]", "[bin/gone]").replace("nobody", "nobody0"))

    loaded = load_node(file)

    check = loaded.settings.services[1].check
    assert check is not None
    assert check.what == CommandCheck((str(tmp_path / "bin/gone"),), "nobody0")
    texts = [each.text for each in loaded.lacking if each.place[0] == "services"]
    assert texts == [
        f"there is no program '{tmp_path}/bin/gone' here now that can be executed",
        "there is no user 'nobody0' here now",
    ]


def test_a_group_that_switches_drop_is_a_doubt(tmp_path: Path) -> None:
    text = SMALLEST.replace("eth0}", "eth0, group: 239.1.1.1}")

    (doubt,) = load_node(write(tmp_path, text)).doubts

    assert "and then no agent hears this node" in doubt.text
