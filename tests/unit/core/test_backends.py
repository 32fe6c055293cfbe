"""Which servers HAProxy is to have, by role and by who is alive."""

from ipaddress import IPv4Address

import pytest

from haagent.core.actions import Backend, Server, SetBackends
from haagent.core.backends import Backends
from haagent.core.clocks import Clocks
from haagent.core.events import BackendsObserved, FileSettled
from haagent.core.identity import Term, group_id
from haagent.core.journal import Journal
from haagent.core.messages import State
from haagent.core.settings import (
    BackendSettings,
    HAProxyFileSettings,
    HAProxySettings,
    ServerSettings,
    When,
)
from haagent.core.status import BackendsStatus
from haagent.core.units import Moment, MonoNs, WallNs

WEB = group_id("web")
ADDRESS = IPv4Address("10.0.1.1")


NOW = Moment(MonoNs(0), WallNs(0))


def backends(*servers: ServerSettings) -> Backends:
    settings = BackendSettings(name="app", servers=servers)
    haproxy = HAProxySettings(socket="/run/haproxy.sock", backends=(settings,))
    return Backends(haproxy, Journal(Clocks()))


def server(when: When, of: str | None = None) -> ServerSettings:
    return ServerSettings(name="app1", address=ADDRESS, port=80, when=when, group=WEB, of=of)


def wanted(tested: Backends, state: State, alive: set[str]) -> list[SetBackends]:
    return tested.update(NOW, {WEB: state}, {WEB: Term(7)}, alive, None)


APP1 = Server(name="app1", address=ADDRESS, port=80, weight=100, check=True)
WITH = [SetBackends(terms=((WEB, Term(7)),), backends=(Backend("app", (APP1,)),))]
WITHOUT = [SetBackends(terms=((WEB, Term(7)),), backends=(Backend("app", ()),))]


@pytest.mark.parametrize(
    ("when", "state", "expected"),
    [
        (When.ALWAYS, State.INIT, WITH),
        (When.ALWAYS, State.MASTER, WITH),
        (When.MASTER, State.MASTER, WITH),
        (When.MASTER, State.RESIGNING, WITH),
        (When.MASTER, State.CANDIDATE, WITHOUT),
        (When.BACKUP, State.BACKUP, WITH),
        (When.BACKUP, State.FAULT, WITH),
        (When.BACKUP, State.RESIGNING, WITHOUT),
        (When.BACKUP, State.MASTER, WITHOUT),
    ],
)
def test_a_server_is_wanted_in_the_role_that_it_names(
    when: When, state: State, expected: list[SetBackends]
) -> None:
    """Master is who has the addresses, so that a handover counts until they are released."""
    assert wanted(backends(server(when)), state, set()) == expected


def test_the_server_of_a_peer_is_wanted_while_that_peer_is_alive() -> None:
    tested = backends(server(When.ALWAYS, of="lb2"))

    assert wanted(tested, State.BACKUP, {"lb3"}) == WITHOUT
    assert wanted(tested, State.BACKUP, {"lb2", "lb3"}) == WITH
    assert wanted(tested, State.BACKUP, set()) == WITHOUT


def test_both_conditions_must_hold() -> None:
    tested = backends(server(When.MASTER, of="lb2"))

    assert wanted(tested, State.BACKUP, {"lb2"}) == WITHOUT
    assert wanted(tested, State.MASTER, {"lb2"}) == WITH


def test_a_list_that_is_wanted_already_is_not_asked_for_again() -> None:
    """Not even under another term: nothing would change."""
    tested = backends(server(When.ALWAYS))
    wanted(tested, State.BACKUP, set())

    assert tested.update(NOW, {WEB: State.MASTER}, {WEB: Term(8)}, {"lb2"}, None) == []


def test_what_was_seen_stands_beside_what_is_wanted() -> None:
    tested = backends(server(When.ALWAYS))
    before = tested.status()
    wanted(tested, State.BACKUP, set())
    seen = (Backend("app", ()),)
    tested.observed(BackendsObserved(reachable=True, backends=seen, trouble="app1 is missing"))

    assert before == BackendsStatus(reachable=False, wanted=(), seen=(), trouble="")
    assert tested.status() == BackendsStatus(
        reachable=True, wanted=(Backend("app", (APP1,)),), seen=seen, trouble="app1 is missing"
    )


def test_the_trouble_with_the_file_stands_beside_what_was_seen() -> None:
    file = HAProxyFileSettings(path="/etc/haproxy/haproxy.cfg")
    settings = HAProxySettings(socket="/run/haproxy.sock", backends=(), file=file)
    tested = Backends(settings, Journal(Clocks()))
    tested.observed(BackendsObserved(reachable=True, backends=(), trouble=""))
    tested.observed(FileSettled(trouble="disk full", news=""))

    assert tested.status() == BackendsStatus(
        reachable=True,
        wanted=(),
        seen=(),
        trouble="",
        file="/etc/haproxy/haproxy.cfg",
        file_trouble="disk full",
    )


def test_new_settings_are_wanted_from_the_next_update_on() -> None:
    tested = backends(server(When.MASTER))
    wanted(tested, State.BACKUP, set())
    settings = BackendSettings(name="app", servers=(server(When.BACKUP),))
    tested.reconfigure(HAProxySettings(socket="/run/haproxy.sock", backends=(settings,)))

    assert wanted(tested, State.BACKUP, set()) == WITH
