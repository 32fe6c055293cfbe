"""Planned moves: the address changes hosts and hardly anybody notices."""

from haagent.lab.cluster import VIP_IPV4, VIP_IPV6, start_services
from tests.lab.conftest import Begin

MS = 1_000_000
SECOND = 1_000 * MS


def test_a_master_whose_host_reboots_comes_back_by_one_handover(begin: Begin) -> None:
    """``preempt: after 2s``."""
    site = begin()
    lb1 = site.cluster.balancers["lb1"]
    ipv4, ipv6 = site.probe()

    died = lb1.reboot()
    site.gap(ipv4, died, by="lb2")
    start_services(site.cluster, "lb1")
    site.agents["lb1"].start()
    back = [site.gap(probes, died + 2 * SECOND, by="lb1") for probes in (ipv4, ipv6)]
    site.settle(lb1="master", lb2="backup")

    silences = [p.longest_silence(died + 2 * SECOND) for p in (ipv4, ipv6)]
    assert max(silences) < 100 * MS, (silences, back)
    for probes in (ipv4, ipv6):
        assert [change.who for change in probes.changes(died + SECOND)] == ["lb2", "lb1"]
    assert site.reigns("lb1") == ["took over by planned handover"]
    assert len(site.reigns("lb2")) == 1


def test_a_clean_stop_is_not_noticed_for_a_tenth_of_a_second(begin: Begin) -> None:
    site = begin()
    ipv4, ipv6 = site.probe()

    stopped = site.agents["lb1"].process.stop()

    gaps = [site.gap(probes, stopped, by="lb2") for probes in (ipv4, ipv6)]
    silences = [probes.longest_silence(stopped) for probes in (ipv4, ipv6)]
    assert max(*gaps, *silences) < 100 * MS, (gaps, silences)
    assert site.agents["lb1"].process.exit_code == 0
    assert site.holders(VIP_IPV4) == site.holders(VIP_IPV6) == ["lb2"]
