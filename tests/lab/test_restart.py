"""A planned restart of the master's agent: the address stays, or is handed over first."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from haagent.config import new_key
from haagent.lab.agents import with_capabilities
from haagent.lab.cluster import VIP_IPV4
from haagent.lab.probes import Probes, probe_udp
from haagent.lab.services import Service
from haagent.lab.witness import Witness
from tests.lab.conftest import BY_ROLE, Begin, Site

MS = 1_000_000
SECOND = 1000 * MS

WITHOUT_BPF = with_capabilities("net_admin", "net_raw", "ipc_lock")


@dataclass(frozen=True, slots=True)
class Scene:
    """A pair of agents under service managers, lb1 the master, and a prober of its address."""

    site: Site
    lb1: Service
    prober: Probes

    def lost(self, since_ns: int) -> list[int]:
        """When those probes were sent that nobody answered."""
        outcomes = self.prober.outcomes()
        return [each.sent_ns for each in outcomes if each.sent_ns >= since_ns and not each.ok]

    def log(self) -> str:
        """What the process of lb1 said that was started last."""
        return self.lb1.agent.process.log_text()


@pytest.fixture
def scene(begin: Begin) -> Iterator[Callable[..., Scene]]:
    """``scene(*wrapper)``: what executes the agents is as for :data:`Begin`."""
    with ExitStack() as stack:

        def start(*wrapper: str) -> Scene:
            site = begin(BY_ROLE, through=wrapper)
            lb1 = stack.enter_context(Service(site.agents["lb1"]))
            lb1.agent.process.stop()
            lb1.start(*wrapper)
            site.settle_all()
            prober = probe_udp(site.cluster.client, VIP_IPV4)
            site.lab.wait_until(lambda: prober.gap_after(0), 10, "lb1 answers")
            return Scene(site, lb1, prober)

        yield start


def test_a_restarted_master_goes_on_and_nobody_notices(scene: Callable[..., Scene]) -> None:
    play = scene()
    term, told = play.site.role("lb1").term, play.site.records("lb2", "role.changed")

    moment = play.lb1.restart()
    play.site.settle(lb1="master", lb2="backup")
    play.site.settle_all()

    lost = [f"{(at - moment) / MS:.1f} ms" for at in play.lost(moment)]
    assert len(lost) <= 1, f"lost {lost} after it began to restart"
    role = play.site.role("lb1")
    assert (role.term, role.reason) == (term, "restarted")
    assert play.site.records("lb2", "role.changed") == told
    assert play.site.alarms("lb1") == play.site.alarms("lb2") == {}


def test_after_a_restart_a_death_is_as_silent_as_before(scene: Callable[..., Scene]) -> None:
    """Nothing of what was kept for the new process may keep the address of a dead one open."""
    play = scene()
    play.lb1.restart()
    play.site.settle(lb1="master", lb2="backup")
    witness = Witness(play.site.lab, play.site.cluster.balancers, VIP_IPV4)
    witness.wait_for("lb1", time.monotonic_ns())

    killed = play.lb1.agent.process.kill()

    witness.wait_for("lb2", killed)
    assert witness.last_answer("lb1", killed) < 50 * MS
    assert witness.both("lb1", "lb2", killed) == 0


def test_an_agent_that_does_not_come_back_loses_its_address(scene: Callable[..., Scene]) -> None:
    play = scene()
    witness = Witness(play.site.lab, play.site.cluster.balancers, VIP_IPV4)
    witness.wait_for("lb1", time.monotonic_ns())

    left = play.lb1.leave()

    assert "kept" in play.lb1.agent.release()
    taken = witness.wait_for("lb2", left)
    assert witness.both("lb1", "lb2", left) == 0
    assert 2 * SECOND < witness.last_answer("lb1", left) < 3.1 * SECOND
    assert taken < 4 * SECOND
    assert "removed" in play.lb1.agent.release()
    assert play.site.holders(VIP_IPV4) == ["lb2"]


def changed(play: Scene) -> None:
    play.lb1.agent.configure(BY_ROLE("lb1") + "# one more line\n")


def another_key(play: Scene) -> None:
    play.lb1.agent.key_file.write_text(new_key())


def broken(play: Scene) -> None:
    play.lb1.agent.configuration_file.write_text("node: [")


@pytest.mark.parametrize("spoil", [changed, another_key, broken])
def test_with_another_configuration_it_is_handed_over_first(
    scene: Callable[..., Scene], spoil: Callable[[Scene], None]
) -> None:
    play = scene()
    spoil(play)

    left = play.lb1.leave()

    assert play.site.gap(play.prober, left, "lb2") < 200 * MS
    assert "handed over first" in play.log()
    assert play.site.holders(VIP_IPV4) == ["lb2"]


def test_where_the_fence_cannot_outlive_the_process_it_is_handed_over_first(
    scene: Callable[..., Scene],
) -> None:
    play = scene(*WITHOUT_BPF)
    assert play.site.status("lb1").runtime.fence == "nft"

    left = play.lb1.leave()

    assert play.site.gap(play.prober, left, "lb2") < 200 * MS
    assert "handed over first: level nft" in play.log()


def test_what_no_manager_keeps_is_handed_over_first(begin: Begin) -> None:
    site = begin(BY_ROLE)
    prober = probe_udp(site.cluster.client, VIP_IPV4)
    site.lab.wait_until(lambda: prober.gap_after(0), 10, "lb1 answers")

    asked = site.agents["lb1"].process.ask_to_restart()

    assert site.gap(prober, asked, "lb2") < 200 * MS
    assert "no service manager" in site.agents["lb1"].process.log_text()
