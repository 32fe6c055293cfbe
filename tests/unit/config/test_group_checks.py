"""Checks in the file: how they are written, and what is refused, doubted or missing."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.config import Loaded, load
from haagent.core.checks import (
    CheckSettings,
    CommandCheck,
    Consequence,
    FileCheck,
    HAProxyCheck,
    HTTPCheck,
    PidfileCheck,
    PingCheck,
    ProcessCheck,
    TCPCheck,
    What,
)
from haagent.core.units import milliseconds, seconds

from .conftest import Complain

GOOD = """\
node: lb1
cluster: shop
key_file: k
heartbeat: {paths: [{interface: eth0}]}
haproxy: {socket: h.sock, backends: {app: {servers: [{name: a, address: "192.0.2.21:80"}]}}}
groups:
  web:
    priority: 150
    interface: eth0
    addresses: [192.0.2.100, "2001:db8::100"]
    checks:
"""
"""The checks follow in line 12, after 6 spaces."""


def loaded(tmp_path: Path, *checks: str) -> Loaded:
    file = tmp_path / "haagent.yml"
    file.write_text(GOOD + "".join(f"      {check}\n" for check in checks))
    return load(file)


def checks(tmp_path: Path, *lines: str) -> tuple[CheckSettings, ...]:
    return loaded(tmp_path, *lines).settings.groups[0].checks


def doubts(tmp_path: Path, check: str) -> list[str]:
    problems = loaded(tmp_path, f"it: {check}").doubts
    return [problem.text for problem in problems if "checks" in problem.place]


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    assert checks(tmp_path, "haproxy: {haproxy: h.sock}") == (
        CheckSettings(
            name="haproxy",
            what=HAProxyCheck(f"{tmp_path}/h.sock"),
            interval=seconds(1),
            timeout=milliseconds(500),
            rise=2,
            fall=2,
            on_fail=Consequence.RELEASE,
        ),
    )


def test_everything_can_be_said(tmp_path: Path) -> None:
    line = "it: {ping: 192.0.2.1, interval: 5s, timeout: 2s, rise: 3, fall: 4, on_fail: demote}"

    assert checks(tmp_path, line) == (
        CheckSettings(
            name="it",
            what=PingCheck(ip_address("192.0.2.1")),
            interval=seconds(5),
            timeout=seconds(2),
            rise=3,
            fall=4,
            on_fail=Consequence.DEMOTE,
        ),
    )


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("haproxy: /run/h.sock", HAProxyCheck("/run/h.sock")),
        ("tcp: 127.0.0.1:80", TCPCheck(ip_address("127.0.0.1"), 80)),
        ('tcp: "[2001:db8::1]:80"', TCPCheck(ip_address("2001:db8::1"), 80)),
        ("http: http://127.0.0.1/", HTTPCheck(url="http://127.0.0.1/")),
        (
            "http: https://127.0.0.1/, status: 200, host: shop.example, verify: false",
            HTTPCheck(
                url="https://127.0.0.1/", status=(200, 200), host="shop.example", verify=False
            ),
        ),
        (
            "http: http://127.0.0.1/, status: 200..204",
            HTTPCheck(url="http://127.0.0.1/", status=(200, 204)),
        ),
        ("process: nginx", ProcessCheck("nginx")),
        ("pidfile: /run/nginx.pid", PidfileCheck("/run/nginx.pid")),
        ("file: /etc/haagent/maintenance", FileCheck("/etc/haagent/maintenance")),
        ("exec: [sh, -c, 'exit 0'], user: nobody", CommandCheck(("sh", "-c", "exit 0"), "nobody")),
    ],
)
def test_every_kind_of_check(written: str, what: What, tmp_path: Path) -> None:
    assert checks(tmp_path, f"it: {{{written}}}")[0].what == what


@pytest.mark.parametrize(("given", "timeout"), [("100ms", 50), ("999ms", 499), ("10s", 1000)])
def test_half_the_interval_is_the_limit_unless_one_is_given(
    given: str, timeout: int, tmp_path: Path
) -> None:
    (check,) = checks(tmp_path, f"it: {{file: /x, interval: {given}}}")

    assert check.timeout == milliseconds(timeout)


def test_paths_begin_at_the_file_and_names_of_programs_do_not(tmp_path: Path) -> None:
    lines = ("a: {exec: [checks/disk, -v]}", "b: {exec: [disk]}", "c: {file: switch}")

    assert [check.what for check in checks(tmp_path, *lines)] == [
        CommandCheck((f"{tmp_path}/checks/disk", "-v")),
        CommandCheck(("disk",)),
        FileCheck(f"{tmp_path}/switch"),
    ]


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        (
            "{interval: 1s}",
            (
                "groups.web.checks.it: must have one of haproxy, tcp, http, ping, process, "
                "pidfile, file and exec"
            ),
        ),
        (
            "{ping: 192.0.2.1, file: /x}",
            ("groups.web.checks.it.file: must be the only kind of check, 'ping' is given as well"),
        ),
        (
            "{file: /x, status: 200}",
            "groups.web.checks.it.status: must be left out without 'http', has no effect",
        ),
        (
            "{file: /x, user: root}",
            "groups.web.checks.it.user: must be left out without 'exec', has no effect",
        ),
        (
            "{http: http://127.0.0.1/, verify: false}",
            ("groups.web.checks.it.verify: must be left out with http, which has no certificate"),
        ),
        (
            "{file: /x, timeout: 1s}",
            "groups.web.checks.it.timeout: must be less than the interval, 1s, is '1s'",
        ),
        (
            "{file: /x, interval: 200ms, timeout: 300ms}",
            ("groups.web.checks.it.timeout: must be less than the interval, 200ms, is '300ms'"),
        ),
        (
            "{file: /x, interval: 50ms}",
            "groups.web.checks.it.interval: must be 100ms..1h, is '50ms'",
        ),
        (
            "{file: /x, fall: 0}",
            "groups.web.checks.it.fall: must be 1..100, is 0",
        ),
        (
            "{file: /x, on_fail: restart}",
            "groups.web.checks.it.on_fail: must be release or demote, is 'restart'",
        ),
        (
            "{process: /usr/sbin/nginx}",
            (
                "groups.web.checks.it.process: must be the name of a process without a "
                "path, as in haproxy, is '/usr/sbin/nginx'"
            ),
        ),
        (
            "{ping: 127.0.0.1}",
            (
                "groups.web.checks.it.ping: must be the address of a host, not a loopback "
                "address, is '127.0.0.1'"
            ),
        ),
        (
            "{http: http://127.0.0.1/, status: 399..200}",
            (
                "groups.web.checks.it.status: must be a status 100..599 or a range of "
                "them, as in 200 or 200..299, is '399..200'"
            ),
        ),
        (
            "{http: http://127.0.0.1/, host: 'a b'}",
            ("groups.web.checks.it.host: must be a host name, as in shop.example, is 'a b'"),
        ),
        ("{exec: /bin/true}", "groups.web.checks.it.exec: must be a list, is '/bin/true'"),
        ("{exec: []}", "groups.web.checks.it.exec: must have at least one entry"),
        (
            "{exec: [true]}",
            ("groups.web.checks.it.exec[0]: must be text in quotes, is true"),
        ),
        ("{tpc: 1}", "groups.web.checks.it.tpc: unknown key 'tpc', did you mean 'tcp'?"),
        ("/bin/true", "groups.web.checks.it: must be a mapping, is '/bin/true'"),
    ],
)
def test_what_cannot_be_is_refused(check: str, complaint: str, complaints: Complain) -> None:
    found = complaints(f"{GOOD}      it: {check}\n")

    assert any(complaint in line for line in found)
    assert all(line.startswith("12:") for line in found)


@pytest.mark.parametrize(
    "check",
    ["tcp: 192.0.2.100:80", 'http: "http://[2001:db8::100]/"', "ping: 192.0.2.100"],
)
def test_a_check_of_a_virtual_address_is_doubted(check: str, tmp_path: Path) -> None:
    found = doubts(tmp_path, f"{{{check}, on_fail: demote}}")

    assert len(found) == 1
    assert "is a virtual address: the master asks itself" in found[0]


@pytest.mark.parametrize("check", ["ping: 192.0.2.1", "tcp: 192.0.2.21:80"])
def test_what_would_make_all_agents_release_is_doubted(check: str, tmp_path: Path) -> None:
    (doubt,) = doubts(tmp_path, f"{{{check}}}")

    assert "every agent gives the group up" in doubt
    assert doubts(tmp_path, f"{{{check}, on_fail: demote}}") == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("haproxy: other.sock", "is another HAProxy than the one whose servers are set, h.sock"),
        ("process: haproxy", "lives also while HAProxy hangs"),
        ("exec: ['true']", "'true' always succeeds, so this never fails"),
        ("exec: [/usr/bin/killall, '-0', haproxy]", "may be signalled by its own user and root"),
        ("exec: [sh, -c, x], user: root", "runs as root"),
        ("file: /tmp/maintenance", "is not what the service sees: it has a /tmp of its own"),
        ("pidfile: /home/app/pid", "and no /home"),
        ("file: /x, interval: 1m", "counts as failed only after 2m: interval x fall"),
        ("file: /x, fall: 100", "counts as failed only after 100s"),
    ],
)
def test_what_seldom_works_as_meant_is_doubted(check: str, text: str, tmp_path: Path) -> None:
    (doubt,) = doubts(tmp_path, f"{{{check}}}")

    assert text in doubt


@pytest.mark.parametrize(
    "check",
    [
        "haproxy: h.sock",
        "tcp: 127.0.0.1:80",
        "http: http://127.0.0.1:8080/health",
        "process: nginx",
        "file: /x, interval: 30s",
        "exec: [sh, -c, x]",
        "ping: 192.0.2.1, on_fail: demote",
    ],
)
def test_what_is_well_meant_is_not_doubted(check: str, tmp_path: Path) -> None:
    assert doubts(tmp_path, f"{{{check}}}") == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("{exec: [/nonexistent/program]}", "no program '/nonexistent/program'"),
        ("{exec: [no-such-program]}", "there is no program 'no-such-program'"),
        ("{exec: ['curl -f']}", "each word must be an entry of its own"),
        ("{exec: [sh], user: no-such-user}", "there is no user 'no-such-user' here now"),
    ],
)
def test_what_is_not_on_this_machine_is_named(check: str, text: str, tmp_path: Path) -> None:
    lacking = loaded(tmp_path, f"it: {check}").lacking

    assert any(text in problem.text for problem in lacking if "checks" in problem.place)


def test_a_program_that_may_not_be_executed_is_missing(tmp_path: Path) -> None:
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\n")
    before = [p.text for p in loaded(tmp_path, "it: {exec: [./check]}").lacking]
    program.chmod(0o755)
    after = [p.text for p in loaded(tmp_path, "it: {exec: [./check]}").lacking]

    assert [text for text in before if text not in after] == [
        f"there is no program '{program}' here now that can be executed"
    ]
