"""Programs of the operator, really run; every rule and its refusal."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from haagent.adapters.programs import TAIL_BYTES, Ended, run

ME = "root" if os.geteuid() == 0 else None
"""Whoever runs the tests has said in so many words that it may be root."""

_CAP_NET_ADMIN = 12


def shell(script: str, *, timeout_s: float = 10.0, stdin: bytes = b"") -> Ended:
    return run(["sh", "-c", script], timeout_s=timeout_s, user=ME, stdin=stdin)


def ended(pid: int) -> bool:
    """Return whether the process is gone, or nobody's child has yet waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_ended(pid: int) -> None:
    deadline = time.monotonic() + 5
    while not ended(pid):
        assert time.monotonic() < deadline, f"process {pid} lives"


def test_a_program_gets_its_input_and_environment_and_is_heard() -> None:
    done = run(
        ["sh", "-c", "cat; echo $HAAGENT_ROLE >&2"],
        stdin=b"facts ",
        environment={"HAAGENT_ROLE": "master"},
        timeout_s=10,
        user=ME,
    )

    assert (done.code, done.signal, done.output, done.ok) == (0, None, "facts master\n", True)


def test_how_it_ended_is_told_in_one_line() -> None:
    failed = shell("echo begun; echo '  no \x07route'; exit 3")

    assert failed.text == "ended with exit code 3: no ?route"
    assert not failed.ok


def test_a_signal_that_ended_it_is_told() -> None:
    killed = shell("kill -KILL $$")

    assert (killed.code, killed.signal, killed.ok) == (None, 9, False)
    assert killed.text == "ended by signal 9"


def test_only_the_end_of_a_long_output_is_kept_and_it_never_blocks() -> None:
    done = shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end")

    assert done.ok
    assert len(done.output) == TAIL_BYTES
    assert done.output.endswith("x\nthe end\n")


def test_as_much_of_the_output_is_kept_as_is_wanted() -> None:
    script = "head -c 3000000 /dev/zero"
    done = run(["sh", "-c", script], timeout_s=10, user=ME, most_bytes=1_000_000)

    assert len(done.output) == 1_000_000


def test_input_that_nobody_reads_holds_up_nothing() -> None:
    assert shell("exit 0", stdin=b"x" * 1_000_000).ok


def test_input_that_is_read_late_arrives_whole() -> None:
    assert shell("sleep 0.1; wc -c", stdin=b"x" * 1_000_000).output.strip() == "1000000"


def test_what_takes_too_long_is_told_to_end() -> None:
    late = shell("trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done", timeout_s=0.3)

    assert (late.timed_out, late.code, late.ok) == (True, 0, False)
    assert late.output.endswith("bye\n")
    assert late.text.startswith("did not end within its time, ended after 0.")


def test_what_does_not_listen_is_killed_with_all_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 300 & echo $! $$ > {pids}; while :; do sleep 1; done"

    late = shell(script, timeout_s=0.3)

    assert (late.timed_out, late.signal) == (True, signal.SIGKILL)
    assert 1.2 < late.took_s < 3
    for pid in pids.read_text().split():
        wait_until_ended(int(pid))


def test_children_that_ignore_the_end_of_their_parent_are_killed_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"(trap '' TERM; exec sleep 300) & echo $! > {pid}; wait"

    assert shell(script, timeout_s=0.3).timed_out
    wait_until_ended(int(pid.read_text()))


def test_what_nobody_waits_for_any_more_is_told_to_end() -> None:
    stop = os.eventfd(0)
    threading.Timer(0.3, os.eventfd_write, (stop, 1)).start()

    ended = run(["sh", "-c", "sleep 300"], timeout_s=10, user=ME, stop=stop)

    assert (ended.stopped, ended.timed_out, ended.ok) == (True, False, False)
    assert ended.signal == signal.SIGTERM
    assert ended.took_s < 3
    os.close(stop)


def test_what_goes_on_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    done = shell(f"sleep 300 & echo $! > {pid}; echo begun")

    try:
        assert done.ok
        assert done.output == "begun\n"
        assert done.took_s < 5
        assert not ended(int(pid.read_text()))
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_it_has_a_session_a_directory_and_an_environment_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "of the agent")

    done = shell("pwd; env; ps -o sid= -p $$; echo $$")

    lines = [line.strip() for line in done.output.splitlines()]
    assert lines[0] == "/"
    assert lines[-1] == lines[-2], "not the leader of its session"
    assert "SECRET" not in done.output
    names = {line.partition("=")[0] for line in lines[1:-2]}
    assert names <= {"PATH", "LANG", "HOME", "USER", "LOGNAME", "PWD", "SHLVL", "_", "OLDPWD"}


def test_it_gets_no_descriptor_of_ours() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        assert shell(f"test -e /proc/self/fd/{write} && echo open").output == ""
    finally:
        os.close(read)
        os.close(write)


def test_a_missing_program_is_told() -> None:
    missing = run(["/nowhere/hook"], timeout_s=5, user=ME)

    assert not missing.ok
    assert missing.code == 127
    assert "No such file" in missing.text


def test_a_user_who_does_not_exist_is_told() -> None:
    assert run(["true"], timeout_s=5, user="nobody-at-all").text == (
        "not run: there is no user 'nobody-at-all'"
    )


def test_a_text_that_no_kernel_takes_is_told() -> None:
    assert run(["echo", "a\0b"], timeout_s=5, user=ME).text.startswith("not run: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_runs_nothing_unless_that_was_said(tmp_path: Path) -> None:
    made = tmp_path / "made"

    refused = run(["touch", str(made)], timeout_s=5)

    assert refused.text == (
        "not run: it would run as root: say which user, 'user: root' if that is meant"
    )
    assert not made.exists()
    assert run(["touch", str(made)], timeout_s=5, user="root").ok


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_runs_it_with_his_groups_and_without_any_capability() -> None:
    done = run(["sh", "-c", "id -un; id -Gn; cat /proc/self/status"], timeout_s=5, user="nobody")

    assert done.output.splitlines()[0] == "nobody"
    assert "root" not in done.output.splitlines()[1].split()
    assert capabilities(done.output) == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_capabilities_of_the_service_do_not_reach_it() -> None:
    """As in the unit: an ordinary user with ambient capabilities."""
    script = f"""
import sys; sys.path[:0] = {sys.path!r}
from haagent.adapters.programs import run
own = open("/proc/self/status").read()
assert int(own.split("CapAmb:")[1].split()[0], 16) == {1 << _CAP_NET_ADMIN}, own
show = "cat /proc/self/status; id -un"
print(run(["sh", "-c", show], timeout_s=5).output)
print(run(["true"], timeout_s=5, user="root").text)
granted = run(["grep", "CapEff", "/proc/self/status"], timeout_s=5, capabilities=["net_admin"])
print(granted.output.strip())
"""
    command = [sys.executable, "-c", script]
    admin = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin"]
    prefix = ["setpriv", "--reuid=nobody", "--clear-groups"]

    service = run([*prefix, *admin, *command], timeout_s=30, user="root")

    assert service.ok, service.output
    *status, user, empty, refused, granted = service.output.splitlines()
    assert capabilities("\n".join(status)) == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}
    assert (user, empty) == ("nobody", "")
    assert refused == (
        "not run: to run as root takes CAP_KILL and CAP_SETGID and CAP_SETUID, "
        "which the agent has not"
    )
    assert granted == f"CapEff:\t{1 << _CAP_NET_ADMIN:016x}"


def test_a_program_is_killed_for_want_of_memory_before_the_agent() -> None:
    """The agent of the unit is not: its score is -900."""
    score = Path("/proc/self/oom_score_adj")
    before = score.read_text()
    try:
        score.write_text("-900")
    except PermissionError:
        pytest.skip("this machine lets nobody be killed later than others")
    try:
        assert shell("cat /proc/self/oom_score_adj").output == "0\n"
    finally:
        score.write_text(before)


def capabilities(status: str) -> dict[str, int]:
    names = ("CapInh", "CapPrm", "CapEff", "CapAmb")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith(names))
    return {name: int(fields[name], 16) for name in names}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_real_time_priority_and_locked_memory_are_not_inherited() -> None:
    """From the loop's own thread, as the agent has it; programs run in others, which is less."""
    results: list[Ended] = []

    def work() -> None:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
        results.append(shell("chrt -p $$; grep VmLck /proc/self/status"))

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mlockall(1 | 4) == 0
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        libc.munlockall()

    assert "SCHED_OTHER" in results[0].output
    assert results[0].output.split("VmLck:")[1].split() == ["0", "kB"]
