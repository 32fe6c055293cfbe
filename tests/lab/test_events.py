"""One history of all agents, asked of any of them, while some are dead, stopped or cut off."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haagent.adapters.event_store import NAME
from haagent.lab.cluster import by_rank
from tests.lab.conftest import Begin, Site

LIMIT_S = 30
S = 1_000_000_000


@dataclass(frozen=True)
class Told:
    """What ``haagent events --json`` has printed."""

    events: list[dict[str, Any]]
    missing: dict[str, str]
    stderr: str


def events(site: Site, name: str, *options: str) -> Told:
    done = site.agents[name].ask("events", "--json", *options)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    missing = {line["node"]: line["missing"] for line in lines if "missing" in line}
    return Told([line for line in lines if "record" in line], missing, done.stderr)


def kinds(told: Told, node: str) -> list[str]:
    return [each["record"]["kind"] for each in told.events if each["node"] == node]


def in_order(told: Told) -> bool:
    """Whether the counters rise, and whatever led to a record of the same agent is above it."""
    counts = [each["record"]["lamport"] for each in told.events]
    seen: set[tuple[str, str, int]] = set()
    for each in told.events:
        boot, record = (each["node"], each["boot_id"]), each["record"]
        if record["cause"] is not None and (*boot, record["cause"]) not in seen:
            return False
        seen.add((*boot, record["number"]))
    return counts == sorted(counts)


def told_of(site: Site, name: str, deaths: int, *nodes: str) -> Told:
    """Wait until the agent tells of exactly these, and of so many deaths at least."""

    def complete() -> Told | None:
        told = events(site, name)
        found = [each["record"]["kind"] for each in told.events].count("peer.dead")
        missing = set(site.agents) - {*nodes}
        whole = {each["node"] for each in told.events} == {*nodes}
        return told if whole and told.missing.keys() == missing and found >= deaths else None

    return site.lab.wait_until(complete, LIMIT_S, f"{name} tells of {nodes}")


def test_any_agent_tells_the_history_of_all_and_names_who_is_missing(begin: Begin) -> None:
    site = begin(by_rank, balancers=3)
    lb2, lb3 = site.agents["lb2"], site.agents["lb3"]
    for name in site.agents:
        told = told_of(site, name, 0, "lb1", "lb2", "lb3")
        assert told.stderr == ""
        assert in_order(told)
    follower = lb2.host.start_module(
        "follower", "haagent", "events", "--follow", "--socket", str(lb2.control_socket)
    )
    site.lab.wait_until(lambda: "lb3" in follower.log_text(), LIMIT_S, "it follows")

    site.agents["lb1"].process.kill()
    site.settle(lb2="master", lb3="backup")
    for name in ("lb2", "lb3"):
        told = told_of(site, name, 2, "lb2", "lb3")
        assert told.missing["lb1"].startswith("silent since 20")
        assert told.stderr == f"haagent: lb1 is missing: {told.missing['lb1']}\n"
        assert in_order(told)

    status = site.agents["lb3"].ask("status")
    assert status.returncode == 0
    assert re.search(r"(?m)^  lb1 +silent +\d.* was master when last heard", status.stdout)

    def has_followed() -> bool:
        lines = [line.split() for line in follower.log_text().splitlines()]
        deaths = {line[1] for line in lines if "peer.dead" in line}
        return deaths == {"lb2", "lb3"} and "haagent: lb1 is missing" in follower.log_text()

    site.lab.wait_until(has_followed, LIMIT_S, "the follower has seen the death twice")

    stopped = lb2.process.freeze()
    told = events(site, "lb3")
    took_ns = time.monotonic_ns() - stopped
    lb2.process.thaw()
    print(f"lb2 was named missing after {took_ns / 1e9:.1f} s: {told.missing['lb2']}")
    assert {each["node"] for each in told.events} == {"lb3"}
    assert sorted(told.missing) == ["lb1", "lb2"]
    assert took_ns < 10 * S

    lb3.process.stop()
    damage(lb3.state_dir / NAME)
    lb3.start()
    site.lab.wait_until(
        lambda: "events.damaged" in kinds(events(site, "lb2"), "lb3"),
        LIMIT_S,
        "lb3 tells again, and that its file was damaged",
    )


def damage(store: Path) -> None:
    for suffix in ("-wal", "-shm"):
        store.with_name(f"{store.name}{suffix}").unlink(missing_ok=True)
    store.write_bytes(b"this is no database" * 1000)


def test_who_was_dead_before_the_start_of_the_agent_is_missed_as_well(begin: Begin) -> None:
    site = begin(by_rank)
    lb2 = site.agents["lb2"]

    site.agents["lb1"].process.kill()
    lb2.process.stop()
    lb2.start()
    site.settle(lb2="master")

    assert events(site, "lb2").missing == {"lb1": "not heard since this agent has started"}
    assert events(site, "lb2", "--local").missing == {}
