"""The peer bus between real agents: it comes by itself, and comes back."""

from collections.abc import Mapping

from haagent.lab.cluster import example
from tests.lab.conftest import Begin, Site

PAIR = example("pair")


def states(site: Site) -> Mapping[str, list[str]]:
    """How each agent stands with its living peers."""
    return {
        name: [peer.bus for peer in site.status(name).peers if peer.alive] for name in site.agents
    }


def test_agents_are_connected_again_after_any_end(begin: Begin) -> None:
    """Killed or stopped in an orderly way, whoever of the two has connected."""
    site = begin(PAIR)
    connected = {"lb1": ["connected"], "lb2": ["connected"]}
    site.lab.wait_until(lambda: states(site) == connected, 30, "both are connected")
    for name in site.agents:
        for end in ("kill", "stop"):
            process = site.agents[name].process
            process.kill() if end == "kill" else process.stop()
            site.lab.wait_until(lambda: not any(states(site).values()), 30, "one is alone")
            site.agents[name].start()
            site.lab.wait_until(lambda: states(site) == connected, 60, f"{name}: {end}")
    for agent in site.agents.values():
        assert "Traceback" not in agent.process.log_text()

    site.agents["lb1"].process.stop()
    site.agents["lb1"].configure(PAIR("lb1") + "bus: {enabled: false}\n")
    site.agents["lb1"].start()
    site.lab.wait_until(lambda: states(site)["lb1"] == [""], 30, "lb1 has no bus")
    site.settle_all()
    assert states(site)["lb2"] not in ([""], ["connected"])
