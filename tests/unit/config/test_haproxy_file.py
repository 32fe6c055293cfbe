"""``haproxy.file``: how it is written, and what is refused or missing."""

from pathlib import Path

import pytest

from haagent.config import load
from haagent.core.settings import HAProxyFileSettings

from .conftest import Complain

GOOD = """\
node: lb1
cluster: shop
key_file: k
heartbeat: {paths: [{interface: eth0}]}
groups: {web: {priority: 150, interface: eth0, addresses: [192.0.2.100]}}
haproxy:
  socket: /run/haproxy/admin.sock
  backends: {app: {servers: [{name: a, address: "192.0.2.21:80"}]}}
  file: """


def settings(home: Path, text: str) -> HAProxyFileSettings | None:
    file = home / "haagent.yml"
    file.write_text(GOOD + text)
    haproxy = load(file).settings.haproxy
    assert haproxy is not None
    return haproxy.file


def test_a_path_is_enough_and_paths_begin_at_the_file(tmp_path: Path) -> None:
    assert settings(tmp_path, "{path: haproxy.cfg}") == HAProxyFileSettings(
        path=str(tmp_path / "haproxy.cfg"), check=("haproxy", "-c", "-f", "{file}")
    )


def test_everything_may_be_said(tmp_path: Path) -> None:
    text = (
        "{path: /etc/a.cfg, template: a.j2, check: [sh, '/c {file}'], reload: {master_socket: m}}"
    )

    assert settings(tmp_path, text) == HAProxyFileSettings(
        path="/etc/a.cfg",
        template=str(tmp_path / "a.j2"),
        check=("sh", "/c {file}"),
        master_socket=str(tmp_path / "m"),
    )


def test_systemd_may_reload(tmp_path: Path) -> None:
    found = settings(tmp_path, "{path: /a, reload: {systemd: haproxy@eu-1.service}}")

    assert found is not None
    assert found.reloads
    assert (found.unit, found.master_socket) == ("haproxy@eu-1.service", None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "9:3: haproxy.file.path: must be given, is missing"),
        (
            "{path: a, reload: {}}",
            "9:19: haproxy.file.reload.master_socket: must be given, or 'systemd'; is missing",
        ),
        (
            "{path: a, reload: {master_socket: m, systemd: h.service}}",
            "9:46: haproxy.file.reload.systemd: must be left out where a 'master_socket' is given",
        ),
        (
            "{path: a, reload: {systemd: haproxy}}",
            (
                "9:37: haproxy.file.reload.systemd: must be the name of a unit that ends with "
                "'.service', is 'haproxy'"
            ),
        ),
        (
            "{path: a, reload: {systemd: --now.service}}",
            (
                "9:37: haproxy.file.reload.systemd: must be the name of a unit that ends with "
                "'.service', is '--now.service'"
            ),
        ),
        (
            "{path: a, check: [haproxy, -c, -f, a]}",
            (
                "9:26: haproxy.file.check: must have the word '{file}', which stands for the file "
                "to be checked"
            ),
        ),
        (
            "{path: a, template: a}",
            (
                "9:29: haproxy.file.template: must be another file than 'path', which is made from "
                "it, is 'a'"
            ),
        ),
        ("{path: a, tempate: b}", "9:19: haproxy.file.tempate: unknown key 'tempate', did you "),
    ],
)
def test_what_cannot_be_followed_is_refused(
    complaints: Complain, text: str, complaint: str
) -> None:
    assert [each[: len(complaint)] for each in complaints(GOOD + text)] == [complaint]


def test_a_template_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "haagent.yml"
    file.write_text(f"{GOOD}{{path: a, template: a.j2}}")
    text = f"there is no file {tmp_path / 'a.j2'} here now"

    assert any(text in str(each) for each in load(file).lacking)
    (tmp_path / "a.j2").touch()
    assert not any(text in str(each) for each in load(file).lacking)
