"""What is counted beside the core."""

import os

from haagent.core.identity import NodeId
from haagent.core.messages import Goodbye, Probe, RoleReason
from haagent.core.settings import HeartbeatSettings, PathSettings
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, milliseconds, seconds
from haagent.observe.facts import ConfigurationFacts, DatagramFacts
from haagent.runtime.driver import LATENESS_BOUNDS, Lateness
from haagent.runtime.telemetry import Telemetry, lateness_facts

PATHS = tuple(PathSettings(interface=name) for name in ("eth0", "eth1", "eth0"))
PROBE = Probe(destination=NodeId(1), nonce=1)
GOODBYE = Goodbye(reason=RoleReason.STOPPING)


def at(s: int) -> Moment:
    return Moment(MonoNs(0), WallNs(seconds(s)))


def telemetry() -> Telemetry:
    return Telemetry(HeartbeatSettings(paths=PATHS), at(100))


def test_paths_of_one_interface_are_counted_together_and_types_apart() -> None:
    counted = telemetry()
    counted.sent(0, PROBE)
    counted.sent(2, PROBE)
    counted.sent(1, PROBE)
    counted.received(2, GOODBYE)

    assert counted.datagrams() == (
        DatagramFacts(interface="eth0", type="probe", sent=2, received=0),
        DatagramFacts(interface="eth1", type="probe", sent=1, received=0),
        DatagramFacts(interface="eth0", type="goodbye", sent=0, received=1),
    )


def test_a_refused_reload_leaves_the_time_of_the_file_that_is_in_force() -> None:
    counted = telemetry()
    assert counted.configuration == ConfigurationFacts(accepted=True, accepted_at_s=100.0)

    counted.reloaded(at(200), accepted=False)
    assert counted.configuration == ConfigurationFacts(accepted=False, accepted_at_s=100.0)

    counted.reloaded(at(300), accepted=True)
    assert counted.configuration == ConfigurationFacts(accepted=True, accepted_at_s=300.0)


def test_this_process_has_used_time_and_memory() -> None:
    process = telemetry().process()

    assert process.cpu_s > 0
    assert 5 << 20 < process.memory_bytes < os.sysconf("SC_PHYS_PAGES") * 4096
    assert process.started_at_s == 100.0


def test_each_wake_up_is_in_the_first_bucket_whose_end_it_does_not_pass() -> None:
    lateness = Lateness()
    for late in (LATENESS_BOUNDS[0], DurationNs(LATENESS_BOUNDS[0] + 1), seconds(9), 0):
        lateness.add(MonoNs(1), DurationNs(late))

    facts = lateness_facts(lateness)

    assert facts.counts == (2, 1, *[0] * (len(LATENESS_BOUNDS) - 2), 1)
    assert facts.bounds_s[0] == 0.0001
    assert facts.worst_s == 9
    assert 9 < facts.sum_s < 9.001


def test_what_comes_before_anything_is_due_says_nothing_of_lateness() -> None:
    """A flood of datagrams would hide the few that are late among many that cannot be."""
    lateness = Lateness()

    lateness.add(MonoNs(1), DurationNs(-milliseconds(100)))

    assert sum(lateness.counts) == 0
    assert lateness.worst == 0
