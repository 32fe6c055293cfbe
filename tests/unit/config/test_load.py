"""Files that are accepted, and the settings that come out."""

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_interface
from pathlib import Path

import pytest

from haagent.config import is_of_a_node, load, load_node, new_key
from haagent.core.identity import Priority, group_id
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    Detection,
    GroupSettings,
    HAProxyFileSettings,
    HAProxySettings,
    HeartbeatSettings,
    NodeServersSettings,
    NodesSettings,
    PathSettings,
    Preempt,
    ServerSettings,
    When,
)
from haagent.core.units import milliseconds, seconds

CONF = Path(__file__).parents[3] / "conf"

SMALLEST = """\
cluster: shop
key_file: cluster.key
heartbeat: {paths: [{interface: eth0}]}
groups:
  web: {priority: 150, interface: eth0, addresses: [192.0.2.100]}
"""


def write(directory: Path, text: str) -> Path:
    file = directory / "haagent.yml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", sorted(path.name for path in CONF.glob("*.yml")))
def test_every_example_is_accepted(name: str) -> None:
    file = CONF / name
    loaded = load_node(file) if is_of_a_node(file) else load(file)
    assert loaded.settings.cluster == "shop"


@pytest.mark.parametrize("kind", ["pair", "active-active", "unicast"])
def test_the_two_files_of_an_example_belong_together(kind: str) -> None:
    first, second = (load(CONF / f"{kind}-lb{number}.yml").settings for number in (1, 2))

    assert first.node != second.node
    for ours, theirs in zip(first.groups, second.groups, strict=True):
        assert (ours.name, ours.addresses) == (theirs.name, theirs.addresses)
        assert ours.priority != theirs.priority


def test_a_small_file_leaves_everything_else_at_the_defaults_of_the_settings(
    tmp_path: Path,
) -> None:
    assert load(write(tmp_path, SMALLEST)).settings == AgentSettings(
        node=socket.gethostname(),
        cluster="shop",
        heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
        groups=(
            GroupSettings(
                name="web",
                priority=Priority(150),
                interface="eth0",
                addresses=(ip_interface("192.0.2.100/32"),),
            ),
        ),
    )


def test_the_full_example_says_what_it_says() -> None:
    settings = load(CONF / "haagent.yml").settings

    assert settings.heartbeat == HeartbeatSettings(
        interval=milliseconds(200),
        port=6940,
        paths=(
            PathSettings(interface="eth0", reference=IPv4Address("192.0.2.1")),
            PathSettings(interface="eth1", group=IPv6Address("ff02::114")),
            PathSettings(
                interface="eth2",
                peers=(IPv4Address("198.51.100.12"), IPv4Address("198.51.100.13")),
            ),
        ),
    )
    assert [(g.preempt, g.preempt_after) for g in settings.groups] == [
        (Preempt.AFTER, seconds(5)),
        (Preempt.NEVER, seconds(5)),
    ]
    assert settings.haproxy == HAProxySettings(
        socket="/run/haproxy/admin.sock",
        file=HAProxyFileSettings(
            path="/etc/haproxy/haproxy.cfg",
            template="/etc/haagent/haproxy.cfg.j2",
            master_socket="/run/haproxy/master.sock",
        ),
        backends=(
            BackendSettings(
                name="app",
                servers=(
                    ServerSettings(name="app1", address=IPv4Address("192.0.2.21"), port=8080),
                    ServerSettings(name="app2", address=IPv6Address("2001:db8::22"), port=8080),
                    ServerSettings(
                        name="lb2-local", address=IPv4Address("192.0.2.12"), port=8080, of="lb2"
                    ),
                    ServerSettings(
                        name="spare",
                        address=IPv4Address("192.0.2.29"),
                        port=8080,
                        when=When.MASTER,
                        group=group_id("web"),
                    ),
                    ServerSettings(
                        name="archive",
                        address=IPv4Address("192.0.2.30"),
                        port=8080,
                        check=False,
                        when=When.BACKUP,
                        group=group_id("mail"),
                    ),
                ),
                nodes=NodeServersSettings(service="app"),
            ),
        ),
    )
    assert settings.nodes is not None
    assert [(each.name, each.rise, each.timeout) for each in settings.nodes.classes] == [
        ("default", 2, milliseconds(3100)),
        ("batch", 3, seconds(20)),
    ]


@pytest.mark.parametrize(
    ("written", "interval", "detection"),
    [
        ("profile: lan", milliseconds(200), Detection.PROBING),
        ("profile: lan-fast", milliseconds(50), Detection.PROBING),
        ("profile: compat", seconds(1), Detection.PROBING),
        ("profile: wan", seconds(1), Detection.PROBING),
        ("profile: fixed", milliseconds(200), Detection.FIXED),
        ("interval: 100ms, profile: lan-fast", milliseconds(100), Detection.PROBING),
        ("interval: 1s, profile: fixed", seconds(1), Detection.FIXED),
    ],
)
def test_a_profile_sets_the_interval_unless_one_is_given_beside_it(
    tmp_path: Path, written: str, interval: int, detection: Detection
) -> None:
    heartbeat = f"heartbeat: {{{written}, paths: [{{interface: eth0, peers: [192.0.2.2]}}]}}"
    text = SMALLEST.replace("heartbeat: {paths: [{interface: eth0}]}", heartbeat)

    settings = load(write(tmp_path, text)).settings.heartbeat

    assert (settings.interval, settings.detection) == (interval, detection)


def test_a_path_may_have_a_third_party_to_ask(tmp_path: Path) -> None:
    text = SMALLEST.replace("{interface: eth0}", "{interface: eth0, reference: 192.0.2.1}")

    (path,) = load(write(tmp_path, text)).settings.heartbeat.paths

    assert path.reference == IPv4Address("192.0.2.1")


def test_a_reference_that_nobody_asks_is_a_warning(tmp_path: Path) -> None:
    asked = "heartbeat: {paths: [{interface: eth0, reference: 192.0.2.1}]}"
    text = SMALLEST.replace("heartbeat: {paths: [{interface: eth0}]}", asked)
    unasked = text.replace("{paths:", "{profile: fixed, paths:")

    said = [str(warning) for warning in load(write(tmp_path, unasked)).warnings]

    complaint = "heartbeat.paths[0].reference: has no effect with profile fixed, which asks nobody"
    assert any(line.endswith(complaint) for line in said)
    assert not any("has no effect" in str(w) for w in load(write(tmp_path, text)).warnings)


def test_when_means_the_only_group_where_there_is_only_one(tmp_path: Path) -> None:
    haproxy = """
haproxy:
  socket: admin.sock
  backends: {app: {servers: [{name: a, address: "192.0.2.1:80", when: master}]}}
"""

    settings = load(write(tmp_path, SMALLEST + haproxy)).settings

    assert settings.haproxy is not None
    assert settings.haproxy.socket == str(tmp_path / "admin.sock")
    assert settings.haproxy.backends[0].servers[0].group == group_id("web")


def test_paths_are_relative_to_the_file_and_not_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, SMALLEST + "state_dir: state\ncontrol_socket: run/control.sock\n")
    monkeypatch.chdir(tmp_path)

    loaded = load(Path("haagent.yml"))

    assert loaded.key_file == tmp_path / "cluster.key"
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.control_socket == tmp_path / "run/control.sock"


def test_an_alias_stands_for_what_its_anchor_holds(tmp_path: Path) -> None:
    text = SMALLEST.replace("interface: eth0}", "interface: &card eth1}")
    text = text.replace("interface: eth0,", "interface: *card,")

    assert load(write(tmp_path, text)).settings.groups[0].interface == "eth1"


@pytest.mark.parametrize(
    ("written", "preempt", "delay"),
    [
        ("never", Preempt.NEVER, seconds(5)),
        ("immediately", Preempt.IMMEDIATELY, seconds(5)),
        ("after 2m", Preempt.AFTER, seconds(120)),
        ("after 1500ms", Preempt.AFTER, milliseconds(1500)),
    ],
)
def test_preemption_is_never_or_immediate_or_delayed(
    tmp_path: Path, written: str, preempt: Preempt, delay: int
) -> None:
    text = SMALLEST.replace("priority:", f"preempt: {written}, priority:")

    group = load(write(tmp_path, text)).settings.groups[0]

    assert (group.preempt, group.preempt_after) == (preempt, delay)


def test_what_this_machine_lacks_is_a_warning(tmp_path: Path) -> None:
    file = write(tmp_path, SMALLEST.replace("eth0", "nosuch0"))

    assert [str(warning) for warning in load(file).warnings] == [
        (
            f"{file}:2:11: key_file: {tmp_path}/cluster.key: does not exist; "
            f"'haagent keygen {tmp_path}/cluster.key' makes one, all nodes need the same"
        ),
        f"{file}:3:33: heartbeat.paths[0].interface: there is no interface 'nosuch0' here now",
        f"{file}:5:35: groups.web.interface: there is no interface 'nosuch0' here now",
    ]


def test_a_good_key_in_place_is_no_warning(tmp_path: Path) -> None:
    key = tmp_path / "cluster.key"
    key.write_text(new_key())
    key.chmod(0o600)

    warnings = load(write(tmp_path, SMALLEST)).warnings

    assert [warning for warning in warnings if warning.place == ("key_file",)] == []


@pytest.mark.parametrize("group", ["239.1.2.3", '"ff05::114"'])
def test_a_group_that_snooping_switches_may_drop_is_a_warning(tmp_path: Path, group: str) -> None:
    text = SMALLEST.replace("{interface: eth0}", f"{{interface: eth0, group: {group}}}")

    warnings = load(write(tmp_path, text)).warnings

    assert any("is not link-local" in warning.text for warning in warnings)


@pytest.mark.parametrize("group", ["224.0.0.77", '"ff02::77"'])
def test_a_link_local_group_is_no_warning(tmp_path: Path, group: str) -> None:
    text = SMALLEST.replace("{interface: eth0}", f"{{interface: eth0, group: {group}}}")

    warnings = load(write(tmp_path, text)).warnings

    assert not any("link-local" in warning.text for warning in warnings)


def test_a_server_at_a_virtual_address_is_a_warning(tmp_path: Path) -> None:
    haproxy = """
haproxy:
  socket: admin.sock
  backends: {app: {servers: [{name: a, address: "192.0.2.100:80"}]}}
"""

    warnings = load(write(tmp_path, SMALLEST + haproxy)).warnings

    assert any("the master will send to itself" in warning.text for warning in warnings)


def test_loading_needs_no_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("already runs without root")
    file = write(tmp_path, SMALLEST)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o777 == 0o700:  # those that pytest made
            directory.chmod(0o755)

    os.seteuid(65534)
    try:
        assert load(file).settings.cluster == "shop"
    finally:
        os.seteuid(0)


def test_app_nodes_are_heard_where_the_file_says(tmp_path: Path) -> None:
    written = load(write(tmp_path, SMALLEST + "nodes: {port: 7000, interfaces: [eth1, eth2]}\n"))
    defaults = load(write(tmp_path, SMALLEST + "nodes: {}\n"))

    assert written.settings.nodes == NodesSettings(port=7000, interfaces=("eth1", "eth2"))
    assert defaults.settings.nodes == NodesSettings()
    assert load(write(tmp_path, SMALLEST)).settings.nodes is None


def test_an_interface_that_app_nodes_should_be_heard_on_is_missed(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, SMALLEST + "nodes: {interfaces: [nowhere9]}\n"))

    assert "nodes.interfaces[0]: there is no interface 'nowhere9' here now" in "\n".join(
        map(str, loaded.lacking)
    )


def test_metrics_are_served_where_the_file_says_and_else_nowhere(tmp_path: Path) -> None:
    listen = "http: {listen: ['0.0.0.0:9999', '[::1]:6942']}\n"

    assert load(write(tmp_path, SMALLEST)).http == ()
    assert [*map(str, load(write(tmp_path, SMALLEST + listen)).http)] == [
        "0.0.0.0:9999",
        "[::1]:6942",
    ]
