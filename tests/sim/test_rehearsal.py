"""What a rehearsal tells of an address is what asking for it all the time would show."""

from itertools import pairwise

import pytest

from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.faults import Faults
from haagent.sim.rehearsal import needed, rehearse, typical_faults
from haagent.sim.scenario import parsed
from haagent.sim.swarm import Scenario

NODES = ["lb1", "lb2", "lb3"]
FAULTS = [
    "3s kill master 1s",
    "6s pause master 2s",
    "12s suspend master 700ms",
    "16s partition lb1 2s",
    "21s power lb2 1s",
    "24s drift lb1 3s 500ppm",
    "25s link master 1s",
    "28s stop master 1s",
    "31s restart master 500ms",
]


def asked(scenario: Scenario, duration: DurationNs) -> dict[str, list[int]]:
    """Ask each address a thousand times a second; return how often none and several answered."""
    cluster = Cluster(scenario.settings, scenario.seed, reorders=scenario.reorders)
    faults = Faults(cluster)
    for fault in scenario.faults:
        faults.strike(fault)
    cluster.start()
    (group,) = scenario.settings[0].groups
    counts = {str(address.ip): [0, 0, 0, 0] for address in group.addresses}
    begun = False
    for _ in range(duration // milliseconds(1)):
        cluster.run(milliseconds(1))
        for address in group.addresses:
            answering = sum(host.answers(address.ip) for host in cluster.hosts)
            begun = begun or answering > 0
            counts[str(address.ip)][answering] += begun
    return counts


@pytest.mark.parametrize("seed", range(3))
def test_how_long_nobody_or_several_answered_is_told_to_the_millisecond(seed: int) -> None:
    faults = tuple(parsed(text, NODES) for text in FAULTS)
    scenario = Scenario(seed=seed, reorders=True, faults=faults)
    duration = seconds(36)
    services = rehearse(scenario, duration).services
    counts = asked(scenario, duration)

    # A look can miss, or hit, each end of each span.
    tolerance_ms = 12
    for service in services:
        nobody, _, *several = counts[str(service.address)]
        assert service.by_nobody / 1e6 == pytest.approx(nobody, abs=tolerance_ms)
        assert service.by_several / 1e6 == pytest.approx(sum(several), abs=tolerance_ms)
        assert service.longest_by_nobody <= service.by_nobody
    assert services[0].by_nobody > milliseconds(200)
    assert services[0].by_several > seconds(1)


def test_typical_faults_leave_each_other_the_time_to_settle() -> None:
    scenario = Scenario(seed=1, agents=2)
    faults = typical_faults(scenario.settings)

    for fault, later in pairwise(faults):
        alone = Scenario(seed=1, agents=2, faults=(fault,))
        assert needed(alone) <= later.at
    scenario = Scenario(seed=1, agents=2, faults=faults)
    result = rehearse(scenario, needed(scenario))
    assert result.judged
    assert result.violations == ()


def test_the_story_is_in_the_order_of_time_and_has_no_word_of_a_datagram() -> None:
    scenario = Scenario(seed=1, faults=(parsed("5s kill master 1s", NODES),))
    result = rehearse(scenario, needed(scenario))
    times = [happening.at for happening in result.story]

    assert times == sorted(times)
    assert all(MonoNs(0) <= at <= needed(scenario) for at in times)
    assert not [happening for happening in result.story if "Heartbeat" in happening.text]
    assert not [happening for happening in result.story if happening.text.startswith("says")]
    assert {"fault kill begins", "is killed"} <= {each.text for each in result.story}
