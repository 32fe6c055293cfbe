"""Hooks in the file: how they are written, and what is refused, doubted or missing."""

from pathlib import Path

import pytest

from haagent.config import Loaded, load
from haagent.core.settings import BeforeClaim, GroupHooks, HookSettings, OnFail
from haagent.core.units import milliseconds, seconds

from .conftest import Complain

GOOD = """\
node: lb1
cluster: shop
key_file: k
heartbeat: {paths: [{interface: eth0}]}
groups:
  web:
    priority: 150
    interface: eth0
    addresses: [192.0.2.100]
    hooks:
"""
"""The hooks follow in line 11, after 6 spaces."""


def loaded(tmp_path: Path, *hooks: str) -> Loaded:
    file = tmp_path / "haagent.yml"
    file.write_text(GOOD + "".join(f"      {hook}\n" for hook in hooks))
    return load(file)


def hooks(tmp_path: Path, *lines: str) -> GroupHooks:
    return loaded(tmp_path, *lines).settings.groups[0].hooks


def test_a_path_is_short_for_a_command(tmp_path: Path) -> None:
    assert hooks(tmp_path, "master: /etc/haagent/became-master", "any: notify") == GroupHooks(
        master=HookSettings(command=("/etc/haagent/became-master",)),
        any=HookSettings(command=(f"{tmp_path}/notify",)),
    )


def test_a_mapping_has_everything(tmp_path: Path) -> None:
    written = "{command: [hooks/role, -v, '3'], timeout: 500ms, retries: 0, user: nobody}"

    assert hooks(tmp_path, f"backup: {written}").backup == HookSettings(
        command=(f"{tmp_path}/hooks/role", "-v", "3"),
        timeout=milliseconds(500),
        retries=0,
        user="nobody",
    )


def test_a_name_in_a_command_is_looked_for_in_the_path(tmp_path: Path) -> None:
    assert hooks(tmp_path, "stop: {command: [logger, stopped]}").stop == HookSettings(
        command=("logger", "stopped")
    )


def test_a_webhook_needs_no_command(tmp_path: Path) -> None:
    assert hooks(tmp_path, "fault: {url: 'https://example.org:8443/x?y=z'}").fault == HookSettings(
        url="https://example.org:8443/x?y=z"
    )


def test_what_is_waited_for_before_a_claim_has_a_deadline(tmp_path: Path) -> None:
    assert hooks(tmp_path, "before_claim: /bin/mount-it").before_claim == BeforeClaim(
        command=("/bin/mount-it",), timeout=seconds(2), on_fail=OnFail.CLAIM
    )
    written = "before_claim: {command: [/bin/x], timeout: 3s, on_fail: give_way}"
    assert hooks(tmp_path, written).before_claim == BeforeClaim(
        command=("/bin/x",), timeout=seconds(3), on_fail=OnFail.GIVE_WAY
    )


def test_a_file_without_hooks_has_none(tmp_path: Path) -> None:
    assert hooks(tmp_path, "{}") == GroupHooks()


@pytest.mark.parametrize(
    ("hook", "complaint"),
    [
        (
            "master: 5",
            ("15: groups.web.hooks.master: must be the path of a program, or a mapping, is 5"),
        ),
        (
            "master: ''",
            ("15: groups.web.hooks.master: must be the path of a program, or a mapping, is ''"),
        ),
        ("master: {}", "7: groups.web.hooks.master.command: must be given, or 'url'; is missing"),
        (
            "master: {command: []}",
            ("25: groups.web.hooks.master.command: must have at least one entry, is an empty list"),
        ),
        ("master: {command: ls}", "25: groups.web.hooks.master.command: must be a list, is 'ls'"),
        (
            "master: {command: [sh, -c, 5]}",
            ("34: groups.web.hooks.master.command[2]: must be text in quotes, is 5"),
        ),
        (
            "any: {command: [ls], url: 'http://x'}",
            ("28: groups.web.hooks.any.url: must be left out where a 'command' is given"),
        ),
        (
            "any: {url: 'http://x', user: me}",
            ("30: groups.web.hooks.any.user: must be left out with 'url', nothing is run"),
        ),
        (
            "any: {url: 'ftp://x'}",
            (
                "18: groups.web.hooks.any.url: must be a URL that begins with "
                "http:// or https://, is 'ftp://x'"
            ),
        ),
        (
            "any: {url: 'http://'}",
            (
                "18: groups.web.hooks.any.url: must be a URL that begins with "
                "http:// or https://, is 'http://'"
            ),
        ),
        (
            "any: {url: 'http://me:pw@x/'}",
            (
                "18: groups.web.hooks.any.url: must be a URL without "
                "user and password, is 'http://me:pw@x/'"
            ),
        ),
        (
            "any: {command: [ls], timeout: 11m}",
            ("37: groups.web.hooks.any.timeout: must be 100ms..10m, is '11m'"),
        ),
        (
            "any: {command: [ls], retries: 11}",
            ("37: groups.web.hooks.any.retries: must be 0..10, is 11"),
        ),
        (
            "before_claim: {url: 'http://x'}",
            ("7: groups.web.hooks.before_claim.command: must be given, is missing"),
        ),
        (
            "before_claim: {command: [ls], on_fail: wait}",
            ("46: groups.web.hooks.before_claim.on_fail: must be claim or give_way, is 'wait'"),
        ),
        ("mastr: x", "7: groups.web.hooks.mastr: unknown key 'mastr', did you mean 'master'?"),
        (
            "any: {comand: [ls]}",
            ("13: groups.web.hooks.any.comand: unknown key 'comand', did you mean 'command'?"),
        ),
    ],
)
def test_what_is_wrong_with_a_hook_is_said_where_it_stands(
    complaints: Complain, hook: str, complaint: str
) -> None:
    assert f"11:{complaint}" in complaints(f"{GOOD}      {hook}\n")


def test_root_and_long_waits_are_doubted(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "master: {command: [/bin/true], user: root}",
        "before_claim: {command: [/bin/true], timeout: 5s}",
    )

    assert [str(doubt).partition("hooks.")[2] for doubt in found.doubts] == [
        "master.user: runs as root: whoever may write to that program is root on this server",
        (
            "before_claim.timeout: as long as this nobody may have the addresses, at each takeover "
            "and handover"
        ),
    ]


def test_a_short_wait_and_another_user_are_not(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "master: {command: [/bin/true], user: nobody}",
        "before_claim: {command: [/bin/true], timeout: 4s}",
    )

    assert found.doubts == ()


def test_what_is_not_on_this_machine_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    found = loaded(
        tmp_path,
        "master: gone",
        "backup: {command: [no-such-program]}",
        "any: plain",
        "fault: {command: [/bin/true], user: no-such-user}",
        "stop: {command: [sh, -c, exit]}",
    )

    texts = [str(problem).partition("hooks.")[2] for problem in found.lacking]
    assert [text for text in texts if text] == [
        f"master: there is no program {tmp_path}/gone here now",
        "backup.command: there is no program 'no-such-program' here now",
        f"any: {tmp_path}/plain is not executable: chmod +x {tmp_path}/plain",
        "fault.user: there is no user 'no-such-user' here now",
    ]
