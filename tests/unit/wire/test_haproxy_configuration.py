"""HAProxy's configuration file as text, and what its master tells of a reload."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, strategies as st

from haagent.core.actions import Backend, Server
from haagent.wire.haproxy.configuration import (
    MarksError,
    lacks,
    line,
    same_servers,
    with_servers,
)
from haagent.wire.haproxy.master import Processes, alerts, read_processes, refusal

A1 = Server(name="a1", address=IPv4Address("192.0.2.1"), port=80, weight=100, check=True)
A2 = Server(name="a2", address=IPv6Address("2001:db8::2"), port=81, weight=7, check=False)
MARKED = (
    "backend app\n\t# BEGIN haagent app\n\tserver x 192.0.2.9:1\n\t# END haagent: ours\n# end\n"
)
FIRST = "server a1 192.0.2.1:80 weight 100 check inter 1s fastinter 200ms fall 2 rise 1"
SECOND = "server a2 [2001:db8::2]:81 weight 7"


def app(*servers: Server) -> Backend:
    return Backend("app", servers)


def test_a_server_is_one_line_of_the_file() -> None:
    assert line(A1) == FIRST
    assert line(A2) == SECOND


def test_a_marked_section_gets_the_servers_indented_as_its_mark() -> None:
    assert with_servers(MARKED, [app(A1, A2)]) == (
        f"backend app\n\t# BEGIN haagent app\n\t{FIRST}\n\t{SECOND}\n\t# END haagent: ours\n# end\n"
    )


def test_writing_the_servers_twice_is_the_same_as_once() -> None:
    once = with_servers(MARKED, [app(A1, A2)])

    assert with_servers(once, [app(A1, A2)]) == once


@given(st.text(), st.text())
def test_what_is_outside_the_marks_stays_to_the_byte(before: str, after: str) -> None:
    marks = "\n# BEGIN haagent app\n", "# END haagent\n"
    text = f"{before}{marks[0]}old\n{marks[1]}{after}"
    try:
        written = with_servers(text, [app()])
    except MarksError:
        assert "haagent" in before + after
        return

    assert written == f"{before}{marks[0]}{marks[1]}{after}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no line `# BEGIN haagent` for app"),
        ("# BEGIN haagent app\n", "the marked section of app has no `# END haagent`"),
        ("# END haagent\n", "line 1: a marked section ends that has not begun"),
        ("# BEGIN haagent app\n# BEGIN haagent app\n", "line 2: a marked section begins within"),
        (f"{MARKED}{MARKED}", "line 7: a second marked section of app"),
        ("# BEGIN haagent web\n", "line 1: web is no backend of haagent.yml"),
    ],
)
def test_marks_that_are_wrong_are_refused(text: str, why: str) -> None:
    with pytest.raises(MarksError, match=why):
        with_servers(text, [app(A1)])


def test_a_text_with_exactly_the_servers_lacks_nothing_whatever_their_weight() -> None:
    text = with_servers(MARKED, [app(A1, A2)])

    assert lacks(text, [app(A2, replace(A1, weight=1))]) == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("global\n", "it has no backend app"),
        ("frontend app\n", "it has no backend app"),
        ("backend app\n", "it has no line `server a1 192.0.2.1:80` in app"),
        ("backend app\n # server a1 192.0.2.1:80\n", "it has no line `server a1"),
        ("backend app\n server a1 192.0.2.1:81\n", "it has no line `server a1 192.0.2.1:80`"),
        ("backend b\n server a1 192.0.2.1:80\nbackend app\n", "it has no line `server a1"),
        ("backend app\ndefaults\n server a1 192.0.2.1:80\n", "it has no line `server a1"),
        ("listen app\n server a1 192.0.2.1:80\n server b 192.0.2.2:80\n", "it has the server b"),
    ],
)
def test_what_a_text_lacks_is_named(text: str, what: str) -> None:
    assert lacks(text, [app(A1)]).startswith(what)


def test_a_file_does_for_other_weights_and_another_order_and_for_nothing_else() -> None:
    assert same_servers([app(A1, A2)], [app(replace(A2, weight=9), A1)])
    assert not same_servers([app(A1)], [app(A1, A2)])
    assert not same_servers([app(A1)], [app(replace(A1, port=9))])
    assert not same_servers([app(A1)], [app(replace(A1, check=False))])
    assert not same_servers([app(A1)], [Backend("web", (A1,))])


# The master.  The answers are those of HAProxy 2.6.12, but for `Success`, which came with 2.7.

PROC = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
17727           master          2 [failed: 1]   0d00h00m03s     2.6.12-1+deb12u4
# workers
17798           worker          1               0d00h00m01s     2.6.12-1+deb12u4
# old workers
17730           worker          2               0d00h00m02s     2.6.12-1+deb12u4
# programs

"""


def test_the_master_tells_its_workers_and_how_many_reloads_failed() -> None:
    assert read_processes(PROC) == Processes(workers=frozenset({17798}), failed=1)


@pytest.mark.parametrize("answer", ["", "Unknown command: 'show proc'", "# workers\n7 worker 0\n"])
def test_what_no_master_says_is_not_read(answer: str) -> None:
    assert read_processes(answer) is None


def test_a_reload_that_failed_says_why() -> None:
    assert refusal("") == ""
    assert refusal("Success=1\n--\n") == ""
    assert refusal("Success=0\n--\n[ALERT]    (7) : config : cannot bind\n") == "cannot bind"
    assert refusal("Success=0\n") == "it does not say why"


def test_of_what_haproxy_says_the_reasons_are_kept() -> None:
    output = (
        "[NOTICE]   (7) : haproxy version is 2.6.12-1+deb12u4\n"
        "[ALERT]    (7) : config : parsing [a.cfg:2] : unknown keyword 'bad'\n"
        "[ALERT]    (7) : config : [a.cfg:5] : 'server a/y' : invalid port '99999'\n"
        "[ALERT]    (7) : config : Error(s) found in configuration file : a.cfg\n"
        "[ALERT]    (7) : config : Fatal errors found in configuration.\n"
    )

    assert alerts(output) == (
        "parsing [a.cfg:2] : unknown keyword 'bad'; [a.cfg:5] : 'server a/y' : invalid port '99999'"
    )
