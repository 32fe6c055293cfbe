"""Checks of real agents: what fails moves the address, and what hangs holds up nothing."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from haagent.control import haagent_pb2 as pb
from haagent.lab.cluster import VIP_IPV4, VIP_IPV6
from tests.lab.conftest import BY_ROLE, Begin, Site

MS = 1_000_000
SECOND = 1000 * MS

FAST = "interval: 200ms, timeout: 100ms"


def with_checks(**checks: str) -> Callable[[str], str]:
    """Return the pair's configurations with these checks; ``NAME`` is the agent's."""
    written = ", ".join(f"{name}: {{{check}}}" for name, check in checks.items())

    def configuration(name: str) -> str:
        text = BY_ROLE(name)
        assert "    addresses:" in text
        section = f"    checks: {{{written.replace('NAME', name)}}}\n"
        return text.replace("    addresses:", f"{section}    addresses:")

    return configuration


def switch(directory: Path, on_fail: str) -> str:
    return f"file: {directory}/NAME, {FAST}, on_fail: {on_fail}"


def check(site: Site, name: str) -> pb.Check:
    """The only check of the agent, as it tells it."""
    checks = [check for group in site.status(name).groups for check in group.checks]
    return checks[0] if checks else pb.Check()


def await_check(site: Site, name: str, *, passed: bool) -> None:
    site.lab.wait_until(lambda: check(site, name).passed is passed, 10, f"{name}: {passed}")


def test_the_addresses_leave_a_host_whose_haproxy_dies_and_come_back(begin: Begin) -> None:
    """``preempt: after 2s``; detected within 2 x 200 ms + 100 ms."""

    def configuration(name: str) -> str:
        # The laboratory has its own socket, beside the file of the agent.
        return with_checks(haproxy=f"haproxy: haproxy.sock, {FAST}, on_fail: release")(name)

    site = begin(configuration)
    ipv4, ipv6 = site.probe()
    assert check(site, "lb1").text.startswith("HAProxy ")

    died = site.cluster.haproxies["lb1"].process.kill()
    gaps = [site.gap(probes, died, by="lb2") for probes in (ipv4, ipv6)]
    # Beside HAProxy another service answers, until the address goes: that is the move alone.
    silences = [probes.longest_silence(died) / MS for probes in (ipv4, ipv6)]
    print("HAProxy killed, moved after", [f"{gap / MS:.0f} ms" for gap in gaps], silences)

    assert max(gaps) < SECOND, gaps
    assert max(silences) < 100, silences
    site.settle(lb1="fault", lb2="master")
    assert site.role("lb1").reason == "check_failed"
    assert site.holders(VIP_IPV4) == site.holders(VIP_IPV6) == ["lb2"]
    assert "web: haproxy fails: HAProxy is not running" in site.alarms("lb1")["check.failing"]
    assert site.reigns("lb2") == ["the master left"]

    site.cluster.haproxies["lb1"].start()
    site.settle(lb1="master", lb2="backup")
    assert site.reigns("lb1")[1:] == ["took over by planned handover"]
    assert "check.failing" not in site.alarms("lb1")


def test_a_demoted_master_hands_over_to_a_healthy_peer_of_a_lower_priority(
    begin: Begin, tmp_path: Path
) -> None:
    site = begin(with_checks(switch=switch(tmp_path, "demote")))
    ipv4, ipv6 = site.probe()

    touched = time.monotonic_ns()
    (tmp_path / "lb1").touch()
    gaps = [site.gap(probes, touched, by="lb2") for probes in (ipv4, ipv6)]
    site.settle(lb1="backup", lb2="master")
    silences = [probes.longest_silence(touched) / MS for probes in (ipv4, ipv6)]
    print("demoted, moved after", [f"{g / MS:.0f} ms" for g in gaps], "silent for", silences)

    assert max(silences) < 100, silences
    assert site.reigns("lb2") == ["took over by planned handover"]
    assert (site.role("lb1").priority, site.role("lb1").health) == (150, 99)

    (tmp_path / "lb1").unlink()
    site.settle(lb1="master", lb2="backup")
    assert site.role("lb1").health == 100


def test_where_both_are_demoted_the_master_stays(begin: Begin, tmp_path: Path) -> None:
    site = begin(with_checks(switch=switch(tmp_path, "demote")))
    (tmp_path / "lb2").touch()
    await_check(site, "lb2", passed=False)
    ipv4, _ = site.probe()

    touched = time.monotonic_ns()
    (tmp_path / "lb1").touch()
    await_check(site, "lb1", passed=False)
    site.gap(ipv4, touched + 2 * SECOND, by="lb1")

    assert [change.who for change in ipv4.changes(touched)] == ["lb1"]
    assert len(site.reigns("lb1")) == 1
    assert site.reigns("lb2") == []


def test_where_both_are_released_nobody_has_the_addresses(begin: Begin, tmp_path: Path) -> None:
    """And the first whose check passes takes them."""
    site = begin(with_checks(switch=switch(tmp_path, "release")))
    for name in ("lb2", "lb1"):
        (tmp_path / name).touch()
        await_check(site, name, passed=False)
    site.settle(lb1="fault", lb2="fault")
    assert site.holders(VIP_IPV4) == []

    (tmp_path / "lb2").unlink()

    site.settle(lb1="fault", lb2="master")


def test_an_agent_that_is_switched_off_at_its_start_claims_nothing(
    begin: Begin, tmp_path: Path
) -> None:
    site = begin(with_checks(switch=switch(tmp_path, "release")))
    site.agents["lb1"].process.stop()
    (tmp_path / "lb1").touch()
    events = site.watch_addresses("lb1")

    site.agents["lb1"].start()
    site.settle(lb1="fault", lb2="master")
    await_check(site, "lb1", passed=False)

    assert events.heard("added") == []


def test_a_program_that_hangs_is_ended_and_no_heartbeat_waits_for_it(
    begin: Begin, tmp_path: Path
) -> None:
    """It takes no SIGTERM, and has a child; both agents have it, so that lb1 stays master."""
    pids = tmp_path / "pids"
    script = f'trap "" TERM; sleep 1000 & echo $$ $! >> {pids}; wait'
    hangs = f"exec: [sh, -c, '{script}'], user: root, interval: 500ms, timeout: 200ms"
    site = begin(with_checks(hangs=f"{hangs}, on_fail: demote"))
    await_check(site, "lb1", passed=False)
    lines = site.eavesdrop()
    began = time.monotonic_ns()

    def heard() -> list[int]:
        return [instant for instant, _ in lines.heard("192.0.2.11", began)]

    site.lab.wait_until(lambda: len(heard()) >= 30, 20, "30 heartbeats")
    beats = heard()
    gaps = [(later - earlier) / MS for earlier, later in pairwise(beats)]
    print(f"heartbeats every {min(gaps):.1f}..{max(gaps):.1f} ms beside a program that hangs")

    assert max(gaps) < 400, "no heartbeat, due every 200 ms, is left out"
    assert "has not ended within 0.2 s" in check(site, "lb1").text or (
        "did not end within its time" in check(site, "lb1").text
    )
    assert site.role("lb1").state == "master"
    assert len(running(pids)) <= 8, "at most two runs of two processes for each agent"

    for name, agent in site.agents.items():
        agent.configure(BY_ROLE(name))
        assert agent.reload().returncode == 0
    site.lab.wait_until(lambda: not running(pids), 10, "no process is left")
    assert check(site, "lb1").name == ""


def running(pids: Path) -> list[str]:
    """Those of the noted processes that have not ended."""
    return [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]
