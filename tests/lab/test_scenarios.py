"""Scenarios of the simulator, played with real agents, processes and packets.

Those are left out whose faults only a simulator has (clocks, slow steps).  The end is judged as the
simulator judges it: one master, the same, whom all follow, and nobody else answers.
"""

import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from haagent.config.values import shown
from haagent.core.settings import Detection, Preempt
from haagent.core.units import seconds
from haagent.lab.cluster import VIP_IPV4, VIP_IPV6, start_services
from haagent.lab.faults import Fault as Cut
from haagent.lab.witness import Witness
from haagent.sim.faults import MASTER, Fault, Kind
from haagent.sim.scenario import read
from haagent.sim.swarm import FIRST_FAULT, Scenario, play
from tests.lab.conftest import Begin, Site

pytestmark = pytest.mark.unhurried

FILES = sorted((Path(__file__).parents[1] / "sim" / "scenarios").glob("*.yml"))

PROCESS = {Kind.KILL, Kind.PAUSE}
CUTS = {Kind.POWER, Kind.LINK, Kind.ONE_WAY, Kind.PARTITION, Kind.LOSS, Kind.MULTICAST}


def playable(scenario: Scenario) -> bool:
    """Whether the laboratory can do all that the scenario asks for."""
    kinds = {fault.kind for fault in scenario.faults}
    plain = (scenario.groups, scenario.paths, scenario.gateway, scenario.configured)
    lasting = [fault for fault in scenario.faults if fault.length is None]
    return kinds <= PROCESS | CUTS and plain == (1, 1, False, ()) and not lasting


SCENARIOS = {file.stem: scenario for file in FILES if playable(scenario := read(file))}


def configuration(scenario: Scenario) -> Callable[[str], str]:
    """Return the texts of the configurations by name of the agent, as the scenario has them."""

    def text(name: str) -> str:
        settings = scenario.settings[scenario.nodes.index(name)]
        (group,) = settings.groups
        delay = f" {shown(group.preempt_after)}" if group.preempt is Preempt.AFTER else ""
        profile = "fixed" if settings.heartbeat.detection is Detection.FIXED else "lan"
        return f"""\
node: {name}
cluster: simulated
key_file: cluster.key
heartbeat:
  profile: {profile}
  interval: {shown(settings.heartbeat.interval)}
  paths: [{{interface: eth0}}]
groups:
  {group.name}:
    priority: {group.priority}
    preempt: {group.preempt.value}{delay}
    interface: eth0
    addresses: [{VIP_IPV4}, "{VIP_IPV6}"]
"""

    return text


class Player:
    """The faults of a scenario on a site, each begun and ended at its time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        # The first election took as long as it took; the first fault comes soon after.
        self._begin_ns = time.monotonic_ns() - FIRST_FAULT
        self._cuts: dict[Fault, list[Cut]] = {}

    def run(self, faults: tuple[Fault, ...]) -> None:
        """Return when all faults are over."""
        ends = [(fault.at + (fault.length or 0), fault, False) for fault in faults]
        marks = sorted([*((fault.at, fault, True) for fault in faults), *ends], key=lambda m: m[0])
        targets: dict[Fault, tuple[str, ...]] = {}
        for at, fault, begins in marks:
            self._wait(at)
            if begins:
                is_master = fault.targets == (MASTER,)
                targets[fault] = (self._master(),) if is_master else fault.targets
                self._hurt(fault, targets[fault])
            else:
                self._heal(fault, targets[fault])

    def _wait(self, at: int) -> None:
        due = self._begin_ns + at
        self._site.lab.wait_until(
            lambda: time.monotonic_ns() >= due,
            max(0, due - time.monotonic_ns()) / seconds(1) + 5,
            f"{at / seconds(1):.3f} s of the scenario have passed",
        )

    def _master(self) -> str:
        site = self._site

        def masters() -> list[str]:
            return [name for name in site.agents if site.role(name).state == "master"]

        return site.lab.wait_until(masters, 10, "somebody is master")[0]

    def _hurt(self, fault: Fault, targets: tuple[str, ...]) -> None:
        match fault.kind:
            case Kind.KILL:
                self._site.agents[targets[0]].process.kill()
            case Kind.PAUSE:
                self._site.agents[targets[0]].process.freeze()
            case _:
                self._cuts[fault] = self._cut(fault, targets)

    def _cut(self, fault: Fault, targets: tuple[str, ...]) -> list[Cut]:
        faults, balancers = self._site.lab.faults, self._site.cluster.balancers
        hosts = [balancers[name] for name in targets]
        others = [host for host in balancers.values() if host not in hosts]
        match fault.kind:
            case Kind.POWER:
                return [faults.cut(host) for host in hosts]
            case Kind.LINK:
                return [faults.port_down(host) for host in hosts]
            case Kind.ONE_WAY:
                return [faults.drop_one_way(*hosts)]
            case Kind.MULTICAST:
                return [faults.block_multicast(host) for host in hosts]
            case Kind.PARTITION:
                return [faults.loss(100, host, other) for host in hosts for other in others]
            case _:
                return [faults.loss(fault.amount, *pair) for pair in combinations(others, 2)]

    def _heal(self, fault: Fault, targets: tuple[str, ...]) -> None:
        if fault.kind is Kind.POWER:
            # It was silent all the time; that its processes are gone shows when it is back.
            self._site.cluster.balancers[targets[0]].reboot()
            start_services(self._site.cluster, targets[0])
        for cut in self._cuts.pop(fault, ()):
            self._site.lab.faults.heal(cut)
        match fault.kind:
            case Kind.KILL:
                self._site.agents[targets[0]].release()
                self._site.agents[targets[0]].start()
            case Kind.POWER:
                self._site.agents[targets[0]].start()
            case Kind.PAUSE:
                self._site.agents[targets[0]].process.thaw()
            case _:
                pass


def masters_at_the_end(scenario: Scenario) -> list[str]:
    """Return who may be master: with preemption who is so in the simulator, else anyone."""
    if scenario.preempt is Preempt.NEVER:
        return scenario.nodes
    cluster = play(scenario).cluster
    return [host.settings.node for host in cluster.hosts if host.label in cluster.answering()]


def agreed_master(site: Site) -> str | None:
    """Return the one master, if all others follow it and the kernels agree."""
    roles = {name: site.role(name) for name in site.agents}
    masters = [name for name, role in roles.items() if role.state == "master"]
    if len(masters) != 1 or any(role.master != masters[0] for role in roles.values()):
        return None
    held = {address: site.holders(address) for address in (VIP_IPV4, VIP_IPV6)}
    return masters[0] if all(holders == masters for holders in held.values()) else None


def test_there_are_scenarios_for_the_laboratory() -> None:
    kinds = {fault.kind for scenario in SCENARIOS.values() for fault in scenario.faults}

    assert kinds >= PROCESS | CUTS


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_once_failed_in_the_simulator_ends_well_in_namespaces(begin: Begin, name: str) -> None:
    scenario = SCENARIOS[name]
    site = begin(configuration(scenario), balancers=scenario.agents)
    Player(site).run(scenario.faults)

    wanted = masters_at_the_end(scenario)

    def wanted_master() -> str | None:
        return master if (master := agreed_master(site)) in wanted else None

    agreed = site.lab.wait_until(wanted_master, 30, f"all follow one of {wanted}")
    witness = Witness(site.lab, site.cluster.balancers, VIP_IPV4)
    witness.wait_for(agreed, time.monotonic_ns())
    calm = time.monotonic_ns()
    witness.wait(1, calm)

    assert agreed_master(site) == agreed
    answering = [name for name in site.agents if witness.answers(name, calm)]
    assert answering == [agreed], site.lab.logs()
