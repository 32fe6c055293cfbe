"""The Runtime API as text: framing, tables, plans and the words for trouble.

The answers are copied from HAProxy 2.6.12.
"""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given, strategies as st

from haagent.core.actions import Backend, Server
from haagent.core.events import BackendsObserved
from haagent.core.status import Traffic
from haagent.wire.haproxy.changes import Change, Stage, in_order, is_urgent, observe, plan
from haagent.wire.haproxy.framing import (
    MAX_BATCH_BYTES,
    MAX_BATCH_COMMANDS,
    batches,
    replies,
    request,
)
from haagent.wire.haproxy.tables import (
    Held,
    Tables,
    read_health,
    read_process,
    read_table,
    show,
)
from haagent.wire.haproxy.traffic import read_traffic

HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight"
    " srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health"
    " srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port"
    " srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
)
A1 = Server(name="a1", address=IPv4Address("192.0.2.1"), port=80, weight=100, check=True)
A2 = Server(name="a2", address=IPv6Address("2001:db8::2"), port=80, weight=7, check=False)
HELD_A1 = Held(
    name="a1",
    address=A1.address,
    port=80,
    weight=100,
    check=True,
    in_maintenance=False,
    in_service=True,
    draining=False,
    forced_down=False,
)
CHECK = "check inter 1s fastinter 200ms fall 2 rise 1"


def row(
    name: str = "a1",
    *,
    address: str = "192.0.2.1",
    state: int = 2,
    admin: int = 0,
    weight: int = 100,
    check: int = 6,
    agent: int = 0,
) -> str:
    return (
        f"3 app 4 {name} {address} {state} {admin} {weight} 1 9 1 0 1 {check} {agent}"
        " 0 0 - 80 - 0 0 - - 0\n"
    )


def app(*servers: Server) -> Backend:
    return Backend("app", servers)


def commands(backend: Backend, *held: Held) -> list[str]:
    changes = plan(backend, {server.name: server for server in held})
    return in_order(changes)


# Framing


def test_a_request_is_one_line_in_interactive_mode_that_ends_the_connection() -> None:
    assert request(["show servers state app", "show info"]) == (
        b"prompt;show servers state app;show info;quit\n"
    )


@pytest.mark.parametrize("break_out", ["\n", "\r", ";", "<<", "\\", "é", "\0"])
def test_no_name_can_smuggle_in_a_second_command(break_out: str) -> None:
    with pytest.raises(AssertionError):
        request([show(Backend(f"app{break_out}shutdown", ()))])


def test_each_reply_belongs_to_its_command_even_when_it_is_empty() -> None:
    data = b"\n> New server registered.\n\n> \n> No such server.\n\n> "

    assert replies(data, 3) == ["New server registered.", "", "No such server."]


def test_no_commands_have_no_replies() -> None:
    assert replies(b"\n> ", 0) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\n> ", b"\n> one\n", b"HTTP/1.0 400\n> one\n> ", b"\n> one\n> two\n> ", b"\xff\x00"],
)
def test_an_answer_that_is_not_whole_or_not_haproxys_is_no_reply(data: bytes) -> None:
    assert replies(data, 1) is None


@given(st.lists(st.text("abc 1/", min_size=1, max_size=300), max_size=350))
def test_batches_keep_every_command_in_order_within_both_limits(given: list[str]) -> None:
    parts = list(batches(given))

    assert [command for part in parts for command in part] == given
    assert all(0 < len(part) <= MAX_BATCH_COMMANDS for part in parts)
    assert all(len(";".join(part)) <= MAX_BATCH_BYTES for part in parts)


# Tables


def test_a_table_tells_each_server() -> None:
    a2 = replace(HELD_A1, name="a2", address=IPv6Address("2001:db8::2"), weight=0, check=False)

    assert read_table(HEADER + row() + row("a2", address="2001:db8::2", weight=0, check=2)) == {
        "a1": HELD_A1,
        "a2": a2,
    }


def test_columns_are_found_by_name_whatever_a_version_adds() -> None:
    newer = HEADER.replace("srv_id ", "srv_id srv_new ") + row().replace("4 a1", "4 9 a1")

    assert read_table(newer) == {"a1": HELD_A1}


def test_a_table_that_lacks_a_column_is_no_table() -> None:
    answer = HEADER.replace("srv_port", "port") + row()

    assert read_table(answer) == answer


def test_a_row_that_is_known_is_not_read_again_and_one_that_is_gone_is_forgotten() -> None:
    tables = Tables()
    first = tables.read("app", HEADER + row())
    again = tables.read("app", HEADER + row())
    tables.read("app", HEADER)
    anew = tables.read("app", HEADER + row())
    assert isinstance(first, dict)
    assert isinstance(again, dict)
    assert isinstance(anew, dict)

    assert again["a1"] is first["a1"]
    assert anew["a1"] is not first["a1"]


def test_haproxys_own_word_and_last_check_are_told_of_each_server() -> None:
    answer = (
        "# pxname,svname,status,weight,check_status,check_code,last_chk,\n"
        'app,a1,UP,1,L4OK,,"fine, thanks",\napp,a2,no check,1,,,,\napp\n'
    )

    assert read_health(answer) == {"a1": "UP L4OK", "a2": "no check"}


@pytest.mark.parametrize("answer", ["", "No such proxy.", "# pxname,svname\napp,a1\n"])
def test_what_is_no_table_tells_of_no_health(answer: str) -> None:
    assert read_health(answer) == {}


STATISTICS = (
    "# pxname,svname,scur,stot,bin,bout,status,weight,rate,last_chk,\n"
    'app,a1,3,1200,5000,99000000000,UP,1,40,"fine, thanks",\n'
    "app,a2,0,0,0,0,DOWN 1/2,1,0,,\n"
)


def test_what_haproxy_counts_is_told_of_each_server() -> None:
    assert read_traffic(STATISTICS) == {
        "a1": Traffic(
            status="UP",
            sessions=3,
            sessions_per_s=40,
            sessions_total=1200,
            bytes_in=5000,
            bytes_out=99_000_000_000,
        ),
        "a2": Traffic(
            status="DOWN 1/2",
            sessions=0,
            sessions_per_s=0,
            sessions_total=0,
            bytes_in=0,
            bytes_out=0,
        ),
    }


@pytest.mark.parametrize(
    "answer",
    ["", "No such proxy.", STATISTICS.replace("rate", "pace"), STATISTICS.replace("1200", "")],
)
def test_what_is_no_table_of_numbers_tells_of_no_traffic(answer: str) -> None:
    assert "a1" not in read_traffic(answer)


def test_a_process_is_known_by_number_and_start() -> None:
    answer = "Name: HAProxy\nPid: 7\nUptime_sec: 3\nStart_time_sec: 99\n"

    assert read_process(answer) == "Pid: 7 Start_time_sec: 99"
    assert read_process("Permission denied") == ""


def test_a_table_without_rows_is_an_empty_backend() -> None:
    assert read_table(HEADER) == {}


@pytest.mark.parametrize(
    ("admin", "in_maintenance", "in_service"),
    [
        pytest.param(0x01, True, False, id="maintenance"),
        pytest.param(0x02, False, False, id="maintenance inherited by track"),
        pytest.param(0x04, False, True, id="was disabled in the file"),
        pytest.param(0x08, False, False, id="drain"),
        pytest.param(0x10, False, False, id="drain inherited by track"),
        pytest.param(0x20, False, False, id="no address resolved"),
        pytest.param(0x40, False, True, id="name set by the socket"),
    ],
)
def test_administrative_states_say_what_serves(
    admin: int, in_maintenance: bool, in_service: bool
) -> None:
    held = replace(
        HELD_A1,
        in_maintenance=in_maintenance,
        in_service=in_service,
        draining=bool(admin & 0x18),
    )

    assert read_table(HEADER + row(admin=admin)) == {"a1": held}


@pytest.mark.parametrize(
    ("check", "agent", "forced_down"), [(6, 0, False), (2, 0, True), (0, 0, True), (0, 4, False)]
)
def test_a_server_that_is_down_unchecked_was_forced_down(
    check: int, agent: int, forced_down: bool
) -> None:
    table = read_table(HEADER + row(state=0, check=check, agent=agent))

    assert table == {"a1": replace(HELD_A1, check=bool(check & 4), forced_down=forced_down)}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Can't find backend.",
        HEADER.replace("1", "2", 1) + row(),
        HEADER + "3 app 4 a1",
        HEADER + row().replace(" 100 ", " many "),
        HEADER + row(address="nowhere"),
        HEADER + row(name="a;shutdown"),
    ],
)
def test_an_answer_that_is_no_table_is_given_back(answer: str) -> None:
    assert read_table(answer) == answer


@given(st.text())
def test_no_text_makes_reading_a_table_raise(answer: str) -> None:
    assert isinstance(read_table(answer), dict | str)
    assert isinstance(read_table(HEADER + answer), dict | str)


# Plans


def test_what_is_as_wanted_is_left_alone() -> None:
    assert plan(app(A1), {"a1": HELD_A1}) == []


def test_a_new_server_is_added_checked_and_made_ready() -> None:
    assert plan(app(A1), {}) == [
        Change(
            "app/a1",
            (
                (Stage.ADD, f"add server app/a1 192.0.2.1:80 weight 100 {CHECK}"),
                (Stage.ADD, "enable health app/a1"),
                (Stage.ADD, "set server app/a1 state ready"),
            ),
        )
    ]


def test_an_unchecked_server_can_be_checked_later() -> None:
    """The check's parameters are given at once; checks start only with ``enable health``."""
    assert commands(app(A2)) == [
        f"add server app/a2 [2001:db8::2]:80 weight 7 {CHECK}",
        "set server app/a2 state ready",
    ]


def test_new_servers_come_before_the_last_old_one_goes() -> None:
    """So that the backend is not empty between."""
    assert commands(app(A2), HELD_A1) == [
        *commands(app(A2)),
        "set server app/a1 state maint",
        "del server app/a1",
    ]


def test_who_is_dead_goes_before_anybody_comes_where_another_remains() -> None:
    a3 = replace(HELD_A1, name="a3")
    new = replace(A1, name="a0")

    assert commands(app(new, A1), HELD_A1, a3) == [
        "set server app/a3 state maint",
        *commands(app(new)),
        "del server app/a3",
    ]


def test_a_weight_of_nothing_is_as_urgent_as_a_death() -> None:
    a3 = replace(HELD_A1, name="a3", weight=50)
    wanted = app(replace(A1, name="a0"), A1, replace(A1, name="a3", weight=0))

    assert commands(wanted, HELD_A1, a3)[0] == "set server app/a3 weight 0"


@pytest.mark.parametrize(
    "last",
    [
        pytest.param({"in_service": False}, id="is drained"),
        pytest.param({"weight": 0}, id="has no share"),
        pytest.param({"address": IPv4Address("192.0.2.9")}, id="is elsewhere"),
    ],
)
def test_the_last_server_of_use_is_kept_until_others_are_there(last: dict[str, Any]) -> None:
    dead = replace(HELD_A1, name="dead")

    given = commands(app(A1, replace(A1, name="new")), replace(HELD_A1, **last), dead)

    assert given[-2:] == ["set server app/dead state maint", "del server app/dead"]


def test_only_another_share_of_the_requests_can_wait() -> None:
    def urgent(wanted: Backend, *held: Held) -> list[bool]:
        return [*map(is_urgent, plan(wanted, {server.name: server for server in held}))]

    assert urgent(app(A1), replace(HELD_A1, weight=7)) == [False]
    assert urgent(app(A1), replace(HELD_A1, port=7)) == [True]
    assert urgent(app(A1)) == [True]
    assert urgent(app(), HELD_A1) == [True]
    both = replace(HELD_A1, name="a3")
    assert urgent(app(A1, replace(A1, name="a3", weight=0)), HELD_A1, both) == [True]


def test_a_server_in_maintenance_that_is_not_wanted_is_only_deleted() -> None:
    held = replace(HELD_A1, in_maintenance=True, in_service=False)

    assert commands(app(), held) == ["del server app/a1"]


@pytest.mark.parametrize(
    ("held", "command"),
    [
        ({"address": IPv4Address("192.0.2.9")}, "set server app/a1 addr 192.0.2.1 port 80"),
        ({"port": 81}, "set server app/a1 addr 192.0.2.1 port 80"),
        ({"weight": 99}, "set server app/a1 weight 100"),
        ({"check": False}, "enable health app/a1"),
        ({"in_maintenance": True, "in_service": False}, "set server app/a1 state ready"),
        ({"in_service": False}, "set server app/a1 state ready"),
        ({"forced_down": True}, "set server app/a1 health up"),
    ],
)
def test_each_difference_takes_one_command(held: dict[str, Any], command: str) -> None:
    assert commands(app(A1), replace(HELD_A1, **held)) == [command]


def test_a_server_without_an_address_is_made_anew() -> None:
    """HAProxy refuses to change the family of a Unix socket or of an unresolved name."""
    assert commands(app(A1), replace(HELD_A1, address=None)) == [
        "set server app/a1 state maint",
        "del server app/a1",
        *commands(app(A1)),
    ]


# What is observed


def test_what_was_seen_equals_what_was_wanted_whatever_haproxys_order() -> None:
    table = read_table(HEADER + row("a2", address="2001:db8::2", weight=7, check=2) + row())

    assert observe([app(A1, A2)], [table], {}) == BackendsObserved(
        reachable=True, backends=(app(A1, A2),), trouble=""
    )


def test_a_server_out_of_service_is_not_seen() -> None:
    assert observe([app(A1)], [read_table(HEADER + row(admin=8))], {}).backends == (app(),)


def test_a_missing_backend_is_trouble_and_the_others_are_seen() -> None:
    observed = observe([Backend("gone", ()), app(A1)], ["Can't find backend.", {"a1": HELD_A1}], {})

    assert observed == BackendsObserved(
        reachable=True,
        backends=(app(A1),),
        trouble="backend gone: Can't find backend (add the backend to haproxy.cfg)",
    )


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("Permission denied", "give the `stats socket` in haproxy.cfg `level admin`"),
        ("Unknown command, but maybe one of the following:", "HAProxy 2.6 or newer is needed"),
        (
            "Backend must use a dynamic load balancing to support dynamic servers",
            "give the backend `balance roundrobin` or `leastconn`",
        ),
    ],
)
def test_a_refusal_is_quoted_once_and_says_what_to_do(answer: str, advice: str) -> None:
    answers = dict.fromkeys(commands(app(A1)), "No such server.")
    answers[commands(app(A1))[0]] = answer

    assert observe([app(A1)], [{}], answers).trouble == f"server app/a1: {answer} ({advice})"


def test_a_command_without_effect_is_trouble() -> None:
    inherited = replace(HELD_A1, in_service=False)
    answers = {"set server app/a1 state ready": ""}

    assert observe([app(A1)], [{"a1": inherited}], answers).trouble == (
        "server app/a1: `set server app/a1 state ready` had no effect"
    )


def test_a_difference_that_arose_after_the_commands_is_no_trouble_yet() -> None:
    lighter = replace(HELD_A1, weight=1)

    assert observe([app(A1)], [{"a1": lighter}], {"enable health app/a1": ""}).trouble == ""


def test_waiting_for_the_last_connection_of_a_removed_server_is_no_trouble() -> None:
    leaving = replace(HELD_A1, in_maintenance=True, in_service=False)
    answers = {
        "del server app/a1": "Server still has connections attached to it, cannot remove it."
    }

    assert observe([app()], [{"a1": leaving}], answers) == BackendsObserved(
        reachable=True, backends=(app(),), trouble=""
    )


def test_waiting_for_connections_before_a_wanted_server_can_be_made_is_trouble() -> None:
    waiting = replace(HELD_A1, address=None, in_maintenance=True, in_service=False)
    answers = {
        "del server app/a1": "Server still has connections attached to it, cannot remove it."
    }

    assert "still has connections" in observe([app(A1)], [{"a1": waiting}], answers).trouble


def test_one_reason_is_given_once_for_all_servers() -> None:
    servers = [replace(A1, name=f"s{number}") for number in range(1000)]
    answers = dict.fromkeys(commands(app(*servers)), "Permission denied")

    assert observe([app(*servers)], [{}], answers).trouble == (
        "server app/s0 and 999 more: Permission denied"
        " (give the `stats socket` in haproxy.cfg `level admin`)"
    )


def test_many_reasons_are_cut_short() -> None:
    backends = [Backend(f"b{number}", ()) for number in range(7)]

    trouble = observe(backends, ["Can't find backend."] * 7, {}).trouble

    assert trouble.count("Can't find backend") == 5
    assert trouble.endswith("; and 2 more")
