"""Notifications in the file."""

from pathlib import Path

import pytest

from haagent.config import load
from haagent.core.actions import Severity
from haagent.core.notices import NotificationSettings, Rate
from haagent.core.units import seconds

from .conftest import Complain

GOOD = """\
node: lb1
cluster: shop
key_file: k
heartbeat: {paths: [{interface: eth0}]}
groups: {web: {priority: 150, interface: eth0, addresses: [192.0.2.100]}}
notifications:
"""


def test_an_entry_needs_the_services_alone(tmp_path: Path) -> None:
    (tmp_path / "haagent.yml").write_text(f"{GOOD}  - {{urls_file: urls}}\n")

    assert load(tmp_path / "haagent.yml").notifications == (
        NotificationSettings(
            urls_file=f"{tmp_path}/urls",
            kinds=("*",),
            severity=Severity.WARNING,
            limit=Rate(10, seconds(60)),
        ),
    )


def test_an_entry_has_everything(tmp_path: Path) -> None:
    written = "{urls_file: /u, kinds: [role.changed, 'peer.*'], severity: notice, limit: 3/1h}"
    (tmp_path / "haagent.yml").write_text(f"{GOOD}  - {written}\n")

    assert load(tmp_path / "haagent.yml").notifications == (
        NotificationSettings(
            urls_file="/u",
            kinds=("role.changed", "peer.*"),
            severity=Severity.NOTICE,
            limit=Rate(3, seconds(3600)),
        ),
    )


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("{}", "[0].urls_file: must be given, is missing"),
        (
            "{urls_file: u, kinds: [Peer]}",
            (
                "[0].kinds[0]: must be a kind of record or a pattern of kinds, as in 'peer.*', "
                "is 'Peer'"
            ),
        ),
        ("{urls_file: u, kinds: []}", "[0].kinds: must have at least one entry, is an empty list"),
        (
            "{urls_file: u, severity: bad}",
            "[0].severity: must be critical, error, warning, notice or info, is 'bad'",
        ),
        (
            "{urls_file: u, limit: 10}",
            "[0].limit: must be a number and a length of time, as in 10/1m, is 10",
        ),
        (
            "{urls_file: u, limit: 0/1m}",
            "[0].limit: must be a number and a length of time, as in 10/1m, is '0/1m'",
        ),
        ("{urls_file: u, limit: 9/1ms}", "[0].limit: must be 1s..24h, is '9/1ms'"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(
    complaints: Complain, entry: str, complaint: str
) -> None:
    said = complaints(f"{GOOD}  - {entry}\n")

    assert f"notifications{complaint}" in [line.split(" ", 1)[1] for line in said]


def test_the_same_services_are_not_told_twice(complaints: Complain) -> None:
    assert complaints(f"{GOOD}  - {{urls_file: u}}\n  - {{urls_file: u}}\n") == [
        (
            "8:17: notifications[1].urls_file: must be given once, is already "
            "notifications[0].urls_file in line 7"
        )
    ]


def test_a_file_that_is_missing_or_open_to_others_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "open").touch(mode=0o644)
    (tmp_path / "closed").touch(mode=0o600)
    entries = "".join(f"  - {{urls_file: {name}}}\n" for name in ("open", "closed", "gone"))
    (tmp_path / "haagent.yml").write_text(GOOD + entries)

    lacking = [str(problem) for problem in load(tmp_path / "haagent.yml").lacking]

    assert [text.partition("urls_file: ")[2] for text in lacking if "urls_file" in text] == [
        f"{tmp_path}/open: others may use it (mode 0644): chmod 600 {tmp_path}/open",
        f"{tmp_path}/gone: cannot be read: No such file or directory",
    ]


def test_a_kind_that_no_record_has_is_a_warning_with_the_nearest(tmp_path: Path) -> None:
    kinds = "[peer.ded, 'peers.*', '*.cleard', x.y, peer.dead, 'peer.*', '*.cleared', '*']"
    (tmp_path / "urls").touch(mode=0o600)
    (tmp_path / "haagent.yml").write_text(f"{GOOD}  - {{urls_file: urls, kinds: {kinds}}}\n")

    warnings = load(tmp_path / "haagent.yml").warnings
    told = [w.text for w in warnings if "kinds" in w.place]
    assert told == [
        "no record is of kind 'peer.ded', did you mean 'peer.dead'?",
        "no record is of kind 'peers.*', did you mean 'peer.*'?",
        "no record is of kind '*.cleard'",
        "no record is of kind 'x.y'",
    ]
