"""Files that are refused, and every word that the operator gets to read."""

import socket
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from haagent.config import ConfigurationError, load
from haagent.core.identity import group_id

Complain = Callable[[str], list[str]]

GOOD = """\
node: lb1
cluster: shop
key_file: cluster.key
heartbeat:
  paths:
    - interface: eth0
    - interface: eth1
      peers: [192.0.2.12, 192.0.2.13]
groups:
  web:
    priority: 150
    interface: eth0
    addresses: [192.0.2.100]
  mail:
    priority: 100
    interface: eth0
    addresses: [192.0.2.101/24]
haproxy:
  socket: /run/haproxy/admin.sock
  backends:
    app:
      servers:
        - {name: a, address: "192.0.2.21:80", when: master, group: web}
        - {name: b, address: "192.0.2.22:80", of: lb2}
"""


def test_the_file_that_all_others_spoil_is_good(complaints: Complain) -> None:
    assert complaints(GOOD) == []


def test_ten_mistakes_are_named_at_once_in_file_order(complaints: Complain) -> None:
    text = """\
        node: no
        cluster: shop
        cluster: store
        heartbeat:
          interval: 200
          paths:
            - interface: eth0
              peers: [192.0.2.12]
        groups:
          web:
            priority: 300
            prioritty: 100
            interface: eth0
            addresses: [192.0.2.100, 192.0.2.0/24]
          mail:
            priority: 0150
            interface: eth0
            addresses: [192.0.2.100/24]
            checks: {}
        """

    assert complaints(dedent(text)) == [
        "1:1: key_file: must be given, is missing",
        "1:7: node: must be text in quotes, is no, which YAML reads as false",
        "3:1: cluster: must be given once, is already given in line 2",
        (
            "5:13: heartbeat.interval: must be a whole number with a unit, as in 200ms, 5s, 2m "
            "or 1h, is 200"
        ),
        "11:15: groups.web.priority: must be 1..254, is 300",
        "12:5: groups.web.prioritty: unknown key 'prioritty', did you mean 'priority'?",
        (
            "14:30: groups.web.addresses[1]: must be the address of a host, not of the network, "
            "is '192.0.2.0/24'"
        ),
        "16:15: groups.mail.priority: must be 1..254, is 0150, which YAML reads as 104",
        (
            "18:17: groups.mail.addresses[0]: must be given once, is already "
            "groups.web.addresses[0] in line 14"
        ),
        "19:13: groups.mail.checks: must have at least one entry, is an empty mapping",
    ]


def spoilt(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


VALUES = {
    # node and cluster
    ("node: lb1", "node: 80"): "1:7: node: must be text in quotes, is 80",
    ("node: lb1", "node: 2026-01-02"): (
        "1:7: node: must be text in quotes, is 2026-01-02, which YAML reads as a date"
    ),
    ("node: lb1", "node: 1.5"): (
        "1:7: node: must be text in quotes, is 1.5, which YAML reads as a number"
    ),
    ("node: lb1", "node:"): "1:6: node: must be text in quotes, is empty",
    ("node: lb1", "node: .lb1"): (
        "1:7: node: must be 1..63 letters, digits, '.', '_' or '-', beginning with a letter or "
        "digit, is '.lb1'"
    ),
    ("cluster: shop", "cluster: [shop]"): "2:10: cluster: must be text in quotes, is a list",
    # whole numbers
    ("priority: 150", "priority: 0"): "11:15: groups.web.priority: must be 1..254, is 0",
    ("priority: 150", "priority: 255"): "11:15: groups.web.priority: must be 1..254, is 255",
    ("priority: 150", 'priority: "150"'): (
        "11:15: groups.web.priority: must be 1..254, is the text '150'"
    ),
    ("priority: 150", "priority: 1:30"): (
        "11:15: groups.web.priority: must be 1..254, is 1:30, which YAML reads as 90"
    ),
    ("priority: 150", "priority: 0x10"): (
        "11:15: groups.web.priority: must be 1..254, is 0x10, which YAML reads as 16"
    ),
    ("priority: 150", "priority: 0b_"): (
        "11:15: groups.web.priority: must be 1..254, is 0b_, which YAML reads as a number"
    ),
    ("priority: 150", "priority: on"): (
        "11:15: groups.web.priority: must be 1..254, is on, which YAML reads as true"
    ),
    # heartbeat
    ("heartbeat:", "heartbeat:\n  profile: lan_fast"): (
        "5:12: heartbeat.profile: must be lan, lan-fast, compat, wan or fixed, is 'lan_fast'"
    ),
    ("- interface: eth0", "- interface: eth0\n      reference: gateway"): (
        "7:18: heartbeat.paths[0].reference: must be an IP address, is 'gateway'"
    ),
    ("- interface: eth0", "- interface: eth0\n      reference: 224.0.0.1"): (
        "7:18: heartbeat.paths[0].reference: must be the address of a host, not a multicast "
        "address, is '224.0.0.1'"
    ),
    # preemption
    ("priority: 150", "priority: 1\n    preempt: after 5"): (
        "12:14: groups.web.preempt: must be a whole number with a unit, as in 200ms, 5s, 2m or "
        "1h, is 'after 5'"
    ),
    ("priority: 150", "priority: 1\n    preempt: off"): (
        "12:14: groups.web.preempt: must be never, immediately or after a duration, as in "
        "'after 5s', is off, which YAML reads as false"
    ),
    ("priority: 150", "priority: 1\n    preempt: after 0s"): (
        "12:14: groups.web.preempt: must be 1ms..24h, is 'after 0s'"
    ),
    # interfaces
    ("interface: eth1", "interface: sixteen-letters-"): (
        "7:18: heartbeat.paths[1].interface: must be an interface: 1..15 characters without "
        "space, '/' or ':', is 'sixteen-letters-'"
    ),
    ("interface: eth1", "interface: eth0:1"): (
        "7:18: heartbeat.paths[1].interface: must be an interface: 1..15 characters without "
        "space, '/' or ':', is 'eth0:1'"
    ),
    ("interface: eth1", "interface: lo"): (
        "7:18: heartbeat.paths[1].interface: must be an interface that other hosts can reach, "
        "is 'lo'"
    ),
    # addresses
    ("192.0.2.101/24", "224.0.0.1"): (
        "17:17: groups.mail.addresses[0]: must be the address of a host, not a multicast "
        "address, is '224.0.0.1'"
    ),
    ("192.0.2.101/24", "127.0.0.2"): (
        "17:17: groups.mail.addresses[0]: must be the address of a host, not a loopback "
        "address, is '127.0.0.2'"
    ),
    ("192.0.2.101/24", '"::"'): (
        "17:17: groups.mail.addresses[0]: must be the address of a host, not an unspecified "
        "address, is '::'"
    ),
    ("192.0.2.101/24", "255.255.255.255"): (
        "17:17: groups.mail.addresses[0]: must be the address of a host, not a reserved "
        "address, is '255.255.255.255'"
    ),
    ("192.0.2.101/24", "192.0.2.255/24"): (
        "17:17: groups.mail.addresses[0]: must be the address of a host, not the broadcast "
        "address, is '192.0.2.255/24'"
    ),
    ("192.0.2.101/24", '"2001:db8::/64"'): (
        "17:17: groups.mail.addresses[0]: must be the address of a host, not of the network, "
        "is '2001:db8::/64'"
    ),
    ("192.0.2.101/24", "192.0.2.101/255.255.255.0"): (
        "17:17: groups.mail.addresses[0]: must have a prefix length /1../32, "
        "is '192.0.2.101/255.255.255.0'"
    ),
    ("192.0.2.101/24", "192.0.2.101/0"): (
        "17:17: groups.mail.addresses[0]: must have a prefix length /1../32, is '192.0.2.101/0'"
    ),
    ("192.0.2.101/24", '"fe80::1%eth0"'): (
        "17:17: groups.mail.addresses[0]: must be an IP address without a zone, is 'fe80::1%eth0'"
    ),
    ("192.0.2.101/24", "vip.example"): (
        "17:17: groups.mail.addresses[0]: must be an IP address, is 'vip.example'"
    ),
    ("addresses: [192.0.2.101/24]", "addresses: []"): (
        "17:16: groups.mail.addresses: must have at least one entry, is an empty list"
    ),
    ("addresses: [192.0.2.101/24]", "addresses: 192.0.2.101"): (
        "17:16: groups.mail.addresses: must be a list, is '192.0.2.101'"
    ),
    # servers
    ('"192.0.2.21:80"', '"app1.example:80"'): (
        "23:30: haproxy.backends.app.servers[0].address: must be IP:port, as in 192.0.2.5:8080 "
        "or '[2001:db8::5]:8080' (no names: HAProxy resolves none at run time), "
        "is 'app1.example:80'"
    ),
    ('"192.0.2.21:80"', '"192.0.2.21:0"'): (
        "23:30: haproxy.backends.app.servers[0].address: must have a port 1..65535, "
        "is '192.0.2.21:0'"
    ),
    ('"192.0.2.21:80"', "1:50"): (
        "23:30: haproxy.backends.app.servers[0].address: must be text in quotes, is 1:50, "
        "which YAML reads as 110"
    ),
    ("name: b", "name: b b"): (
        "24:18: haproxy.backends.app.servers[1].name: must be 1..127 letters, digits, '.', '_', "
        "':' or '-', is 'b b'"
    ),
    ("of: lb2", "weight: 257"): (
        "24:55: haproxy.backends.app.servers[1].weight: must be 0..256, is 257"
    ),
    ("of: lb2", 'check: "yes"'): (
        "24:54: haproxy.backends.app.servers[1].check: must be true or false, is the text 'yes'"
    ),
    ("of: lb2", "when: slave"): (
        "24:53: haproxy.backends.app.servers[1].when: must be always, master or backup, is 'slave'"
    ),
    ("socket: /run/haproxy/admin.sock", f"socket: /{'x' * 107}"): (
        f"19:11: haproxy.socket: must be a path of at most 107 bytes, is '/{'x' * 59}...'"
    ),
    # structure
    ("  web:\n", "  web: x\n  ok:\n"): "10:8: groups.web: must be a mapping, is 'x'",
    ("  web:\n", "  off:\n"): (
        "10:3: groups.off: must be a key of text in quotes, is off, which YAML reads as false"
    ),
    ("  web:\n", "  w b:\n"): (
        "10:3: groups.w b: must be 1..63 letters, digits, '.', '_' or '-', beginning with a "
        "letter or digit, is 'w b'"
    ),
    ("    interface: eth0\n    addresses: [192.0.2.101/24]\n", "    interface: eth0\n"): (
        "14:3: groups.mail.addresses: must be given, is missing"
    ),
    ("node: lb1", "node: !secret lb1"): "1:7: node: must have no tag, has !secret",
}


@pytest.mark.parametrize(("change", "complaint"), VALUES.items())
def test_a_wrong_value_is_named_with_what_it_must_be_and_what_it_is(
    complaints: Complain, change: tuple[str, str], complaint: str
) -> None:
    text = spoilt(*change)

    # A group of another name takes the server that names "web" with it.
    assert complaint in complaints(text)
    assert [line for line in complaints(text) if ".group:" not in line] == [complaint]


CONTRADICTIONS = {
    ("192.0.2.101/24", "192.0.2.100/24"): (
        "17:17: groups.mail.addresses[0]: must be given once, is already "
        "groups.web.addresses[0] in line 13"
    ),
    ("- interface: eth1\n      peers: [192.0.2.12, 192.0.2.13]", "- interface: eth0"): (
        "7:18: heartbeat.paths[1].interface: must be given once, is already "
        "heartbeat.paths[0].interface in line 6"
    ),
    ("192.0.2.13]", "192.0.2.12]"): (
        "8:27: heartbeat.paths[1].peers[1]: must be given once, is already "
        "heartbeat.paths[1].peers[0] in line 8"
    ),
    ("192.0.2.13]", '"2001:db8::1"]'): (
        "8:27: heartbeat.paths[1].peers[1]: must be of the same IP version as the first peer of "
        "the path, is '2001:db8::1'"
    ),
    ("192.0.2.13]", "192.0.2.100]"): (
        "8:27: heartbeat.paths[1].peers[1]: must be an agent's own address, is a virtual address "
        "that moves"
    ),
    ("192.0.2.13]", "192.0.2.13]\n      group: 224.0.0.254"): (
        "9:7: heartbeat.paths[1].group: must be left out where 'peers' are given, heartbeats go "
        "to these alone"
    ),
    ("- interface: eth0", '- interface: eth0\n      reference: "2001:db8::1"'): (
        "7:18: heartbeat.paths[0].reference: must be of the same IP version as the path, "
        "is '2001:db8::1'"
    ),
    (
        "- interface: eth0",
        '- interface: eth0\n      group: "ff02::1"\n      reference: 192.0.2.1',
    ): (
        "8:18: heartbeat.paths[0].reference: must be of the same IP version as the path, "
        "is '192.0.2.1'"
    ),
    ("- interface: eth0", "- interface: eth0\n      reference: 192.0.2.101"): (
        "7:18: heartbeat.paths[0].reference: must be a third party such as the gateway, is a "
        "virtual address that moves"
    ),
    ("- interface: eth0", "- interface: eth0\n      reference: 192.0.2.13"): (
        "7:18: heartbeat.paths[0].reference: must be a third party such as the gateway, is one of "
        "the peers"
    ),
    ("heartbeat:", "heartbeat:\n  profile: wan"): (
        "7:7: heartbeat.paths[0].peers: must be given, profile wan sends to named peers alone; "
        "is missing"
    ),
    ("- interface: eth0", "- interface: eth0\n      group: 192.0.2.1"): (
        "7:14: heartbeat.paths[0].group: must be a multicast group; unicast addresses go under "
        "'peers', is '192.0.2.1'"
    ),
    ("name: b", "name: a"): (
        "24:18: haproxy.backends.app.servers[1].name: must be given once, is already "
        "haproxy.backends.app.servers[0].name in line 23"
    ),
    (", group: web", ""): (
        "23:11: haproxy.backends.app.servers[0].group: must be given, 'when' may mean any of "
        "web, mail; is missing"
    ),
    ("group: web", "group: wbe"): (
        "23:68: haproxy.backends.app.servers[0].group: must be a group of this file (web, mail), "
        "is 'wbe'"
    ),
    ("when: master, ", ""): (
        "23:47: haproxy.backends.app.servers[0].group: must be left out without 'when: master' "
        "or 'when: backup', has no effect"
    ),
    ("of: lb2", "of: lb1"): (
        "24:51: haproxy.backends.app.servers[1].of: must be another node: this one is alive "
        "whenever it can ask, is 'lb1'"
    ),
    ("/run/haproxy/admin.sock", "/run/haagent/control.sock"): (
        "19:11: haproxy.socket: must be HAProxy's own socket, not the control socket of haagent, "
        "is '/run/haagent/control.sock'"
    ),
}


@pytest.mark.parametrize(("change", "complaint"), CONTRADICTIONS.items())
def test_values_that_contradict_each_other_are_refused(
    complaints: Complain, change: tuple[str, str], complaint: str
) -> None:
    assert complaints(spoilt(*change)) == [complaint]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- interface: eth1", "- interface: eth0"),
        ("- interface: eth1", "- reference: 192.0.2.1\n      interface: eth1"),
        ("192.0.2.101/24", '"2001:db8::100"'),
        ("192.0.2.101/24", "192.0.2.0/31"),
        ("192.0.2.101/24", "169.254.1.1/16"),
        ('"192.0.2.22:80"', '"[::1]:80"'),
        ('"192.0.2.22:80"', "127.0.0.1:80"),
        ("of: lb2", "of: lb3, weight: 0, check: no, when: always"),
        ("name: b", 'name: "80"'),
        ("priority: 150", "priority: 254\n    preempt: after  5s"),
        ("key_file: cluster.key", "key_file: !!str cluster.key"),
    ],
)
def test_what_is_unusual_but_right_is_accepted(complaints: Complain, old: str, new: str) -> None:
    text = spoilt(old, new)
    if "- interface: eth0\n      peers" in text:
        # Two paths on one card, when they are of different families.
        text = text.replace("192.0.2.12, 192.0.2.13", '"fe80::12", "fe80::13"')

    assert complaints(text) == []


def test_groups_whose_names_share_an_id_are_refused(complaints: Complain) -> None:
    seen: dict[int, str] = {}
    for number in range(70_000):
        name = f"group{number}"
        other = seen.setdefault(group_id(name), name)
        if other != name:
            break
    text = GOOD.replace("web", other).replace("mail", name)

    assert complaints(text) == [
        f"14:3: groups.{name}: must have another name, has the same id on the network as {other!r}"
    ]


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("clustr", "unknown key 'clustr', did you mean 'cluster'?"),
        ("checks", "unknown key 'checks'"),
        ("volume", "unknown key 'volume'"),
        ("<<", "merge keys are not supported, write the keys out"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_that_exists(
    complaints: Complain, key: str, answer: str
) -> None:
    said = complaints(f"{GOOD}{key}: {{}}\n")

    assert f"25:1: {key}: {answer}" in said


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "- interface: eth0",
            "- interfase: eth0",
            "6:7: heartbeat.paths[0].interfase: unknown key 'interfase', did you mean 'interface'?",
        ),
        (
            "of: lb2",
            "off_: 1, wieght: 1",
            (
                "24:56: haproxy.backends.app.servers[1].wieght: unknown key 'wieght', "
                "did you mean 'weight'?"
            ),
        ),
    ],
)
def test_the_nearest_key_is_looked_for_among_those_of_the_same_section(
    complaints: Complain, old: str, new: str, complaint: str
) -> None:
    assert complaint in complaints(spoilt(old, new))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "1:1: must be a mapping of settings, is empty"),
        ("# nothing yet\n", "1:1: must be a mapping of settings, is empty"),
        ("- a\n", "1:1: must be a mapping, is a list"),
        ("haagent\n", "1:1: must be a mapping, is 'haagent'"),
        ("a:\n\tb: 1\n", "2:1: must be indented and spaced with spaces, is with a tab"),
        ("a: b\n---\nc: d\n", "2:1: must be one document, another one begins here"),
        ("a: [1, 2\n", "2:1: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 'b\n", "2:1: is not YAML: found unexpected end of stream"),
        ("a: *b\n", "1:4: is not YAML: found undefined alias 'b'"),
        (
            "a: [2001:db8::1]:80\n",
            (
                "1:17: is not YAML: expected <block end>, but found '<scalar>'; an IPv6 address in "
                "brackets or beginning with ':' needs quotes"
            ),
        ),
        (
            "a: [::1]\n",
            (
                "1:5: is not YAML: expected the node content, but found ':'; an IPv6 address in "
                "brackets or beginning with ':' needs quotes"
            ),
        ),
        ("a: \x07\n", "1:4: must be printable text, character 7 is not"),
        ('a: "\\UFFFFFFFF"\n', "1:7: is not YAML: number out of range"),
        ("[" * 5000, "1:13: is not YAML: nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_named_at_its_place(
    complaints: Complain, text: str, complaint: str
) -> None:
    assert complaints(text) == [complaint]


@pytest.mark.parametrize(
    "text",
    [
        "groups: &a [*a]\n",
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n"
            for before, after in zip("abcdefg", "bcdefgh", strict=True)
        ),
    ],
    ids=["an alias in its own anchor", "a billion laughs"],
)
def test_aliases_without_end_are_refused(complaints: Complain, text: str) -> None:
    (complaint,) = complaints(text)

    assert "is nested too deeply or repeated too often" in complaint


def refused(file: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return str(caught.value).removeprefix(f"{file}:")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yml") == "1:1: cannot be read: No such file or directory"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == "1:1: cannot be read: Is a directory"


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    assert refused(Path("/dev/zero")) == "1:1: must be at most 256 KiB, is longer"


def test_a_byte_that_is_not_utf8_is_named_at_its_place(tmp_path: Path) -> None:
    file = tmp_path / "latin1.yml"
    file.write_bytes(b"# caf\xc3\xa9\n# caf\xe9\n")

    assert refused(file) == "2:6: must be UTF-8, byte 0xe9 is not"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "bom.yml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert load(file).settings.node == "lb1"


def test_the_host_name_stands_in_for_the_node_only_when_it_is_a_name(
    complaints: Complain, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GOOD.removeprefix("node: lb1\n")
    assert complaints(text) == []

    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")

    assert complaints(text) == ["1:1: node: must be given, the host name is 'localhost'"]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("nodes: {port: 0}", "25:15: nodes.port: must be 1..65535, is 0"),
        (
            "nodes: {interfaces: []}",
            "25:21: nodes.interfaces: must have at least one entry, is an empty list",
        ),
        (
            "nodes: {interfaces: [eth0, eth0]}",
            (
                "25:28: nodes.interfaces[1]: must be given once, is already nodes.interfaces[0] "
                "in line 25"
            ),
        ),
        (
            "nodes: {port: 6940}",
            (
                "25:15: nodes.port: must differ from the other port: agents and app nodes have "
                "sockets of their own, is 6940"
            ),
        ),
    ],
)
def test_where_app_nodes_cannot_be_heard(
    complaints: Complain, section: str, complaint: str
) -> None:
    assert complaints(f"{GOOD}{section}\n") == [complaint]


def test_the_agents_may_not_take_the_port_of_app_nodes(complaints: Complain) -> None:
    text = GOOD.replace("heartbeat:\n", "heartbeat:\n  port: 6941\n")
    complaint = (
        "5:9: heartbeat.port: must differ from the other port: agents and app nodes have "
        "sockets of their own, is 6941"
    )

    assert complaints(f"{text}nodes: {{}}\n") == [complaint]
    assert complaints(text) == []
    assert complaints(f"{text}nodes: {{port: 6942}}\n") == []


@pytest.mark.parametrize(
    ("listen", "complaint"),
    [
        ("[]", "25:16: http.listen: must have at least one entry, is an empty list"),
        (
            "[6942]",
            ("25:17: http.listen[0]: must be text in quotes, is 6942"),
        ),
        (
            "['localhost:6942']",
            (
                "25:17: http.listen[0]: must be IP:port, as in 127.0.0.1:6942 or '[::1]:6942', "
                "is 'localhost:6942'"
            ),
        ),
        (
            "['224.0.0.1:6942']",
            (
                "25:17: http.listen[0]: must be an address of this host, not a multicast address, "
                "is '224.0.0.1:6942'"
            ),
        ),
        ("['127.0.0.1:0']", "25:17: http.listen[0]: must have a port 1..65535, is '127.0.0.1:0'"),
        (
            "['127.0.0.1:6942', '127.0.0.1:6942']",
            "25:35: http.listen[1]: must be given once, is already http.listen[0] in line 25",
        ),
        (
            "['[::]:6940']",
            (
                "25:17: http.listen[0]: must have another port than the heartbeats, to which peers "
                "connect by TCP, is '[::]:6940'"
            ),
        ),
    ],
)
def test_where_nobody_could_listen(complaints: Complain, listen: str, complaint: str) -> None:
    assert complaints(f"{GOOD}http: {{listen: {listen}}}\n") == [complaint]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            "bus: {port: 6940}",
            (
                "25:13: bus.port: must have another port than the heartbeats, to which peers "
                "connect by TCP, is 6940"
            ),
        ),
        (
            "http: {listen: ['127.0.0.1:6943']}",
            "25:17: http.listen[0]: must have another port than the peer bus, is '127.0.0.1:6943'",
        ),
        ("bus: false", "25:6: bus: must be a mapping, is false"),
        ("bus: {port: 0}", "25:13: bus.port: must be 1..65535, is 0"),
    ],
)
def test_where_peers_could_not_connect(complaints: Complain, section: str, complaint: str) -> None:
    assert complaints(f"{GOOD}{section}\n") == [complaint]


def test_a_bus_that_is_not_there_takes_no_port(complaints: Complain) -> None:
    assert complaints(f"{GOOD}bus: {{enabled: false, port: 6940}}\n") == []


def test_the_heartbeats_may_not_take_the_port_of_the_bus(complaints: Complain) -> None:
    assert complaints(GOOD.replace("heartbeat:\n", "heartbeat:\n  port: 6943\n")) == [
        "5:9: heartbeat.port: must have another port than the peer bus, is 6943"
    ]
