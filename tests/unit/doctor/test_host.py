"""What the doctor makes of this host's settings, and what it must not."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface

from haagent.core.settings import IPAddress
from haagent.doctor.facts import Facts, Proxy
from haagent.doctor.findings import Severity
from tests.unit.doctor.world import (
    HEALTHY,
    MACHINE,
    SETTINGS,
    VIP,
    WEB,
    kinds,
    only,
    with_machine,
    with_path,
)

CHAIN = "chain input of nftables' table inet filter"
SAME_LAN = (*MACHINE.addresses, ("eth1", ip_interface("192.0.2.61/24")))


def listening(*addresses: IPAddress, **sysctls: str) -> Facts:
    settings = {f"net.ipv4.{name}": value for name, value in sysctls.items()}
    proxy = Proxy(trouble="", listens=frozenset(addresses))
    return replace(HEALTHY, proxy=proxy, machine=replace(MACHINE, sysctls=settings))


def test_a_haproxy_that_does_not_answer_is_an_error() -> None:
    facts = replace(HEALTHY, proxy=Proxy(trouble="HAProxy is not running", listens=frozenset()))

    assert (only(facts).kind, only(facts).severity) == ("haproxy.unreachable", Severity.ERROR)


def test_without_a_haproxy_in_the_file_nothing_is_asked_of_it() -> None:
    assert kinds(replace(HEALTHY, proxy=None)) == []


def test_a_haproxy_that_listens_elsewhere_is_deaf() -> None:
    assert kinds(listening(IPv4Address("192.0.2.11"))) == [("error", "haproxy.deaf")]
    assert kinds(listening()) == [("error", "haproxy.deaf")]


def test_a_haproxy_that_listens_on_every_address_is_not() -> None:
    assert kinds(listening(IPv4Address(0))) == []
    # HAProxy's `v4v6`.
    assert kinds(listening(IPv6Address("::"))) == []


def test_where_it_listens_may_be_unknown() -> None:
    assert kinds(replace(HEALTHY, proxy=Proxy(trouble="", listens=None))) == []


def test_a_haproxy_on_the_address_itself_needs_nonlocal_bind() -> None:
    assert kinds(listening(VIP, ip_nonlocal_bind="0")) == [("warning", "nonlocal.bind")]
    assert kinds(listening(VIP, ip_nonlocal_bind="1")) == []


def test_a_closed_chain_is_told_while_nothing_has_come_in() -> None:
    nobody = with_path(voices=(), asked={}, hosts=())
    closed = replace(nobody, machine=replace(MACHINE, closed_chains=(CHAIN,)))

    assert ("warning", "firewall.closed") in kinds(closed)
    assert kinds(with_machine(closed_chains=(CHAIN,))) == []


def test_two_interfaces_in_one_network_need_arp_settings() -> None:
    finding = only(with_machine(addresses=SAME_LAN))

    assert (finding.kind, finding.severity) == ("arp.flux", Severity.WARNING)
    assert "eth0 and eth1 are in one network" in finding.text
    sysctls = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.eth0.arp_announce": "2"}
    assert kinds(with_machine(addresses=SAME_LAN, sysctls=sysctls)) == []
    half = sysctls | {"net.ipv4.conf.eth0.arp_announce": "1"}
    assert kinds(with_machine(addresses=SAME_LAN, sysctls=half)) == [("warning", "arp.flux")]


def test_a_strict_rp_filter_matters_with_two_interfaces_in_one_network() -> None:
    settled = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}
    strict = settled | {"net.ipv4.conf.all.rp_filter": "1"}

    assert kinds(with_machine(addresses=SAME_LAN, sysctls=strict)) == [("warning", "rp.filter")]
    loose = strict | {"net.ipv4.conf.eth0.rp_filter": "2"}
    assert kinds(with_machine(addresses=SAME_LAN, sysctls=loose)) == []
    assert kinds(with_machine(sysctls=strict)) == []


def test_ipv6_that_is_off_is_an_error_where_it_is_wanted() -> None:
    group = replace(WEB, addresses=(ip_interface("2001:db8::100/128"),))
    off = with_machine(
        sysctls={"net.ipv6.conf.eth0.disable_ipv6": "1"}, addresses=MACHINE.addresses[:1]
    )

    assert kinds(off) == []
    wanted = replace(off, settings=replace(SETTINGS, groups=(group,)), paths=(), proxy=None)
    assert kinds(wanted) == [("error", "ipv6.disabled")]


def test_who_else_manages_the_interface_is_told_with_the_cure() -> None:
    finding = only(with_machine(managers={"eth0": "systemd-networkd"}))

    assert (finding.kind, finding.severity) == ("interface.managed", Severity.WARNING)
    assert "KeepConfiguration=yes" in finding.cure
    assert kinds(with_machine(managers={"eth1": "systemd-networkd"})) == []


def test_a_clock_that_nobody_keeps_right_is_told() -> None:
    assert kinds(with_machine(synchronised=False)) == [("warning", "time.unsynchronised")]
    assert kinds(with_machine(synchronised=None)) == []


def test_what_could_not_be_looked_at_is_told() -> None:
    facts = replace(HEALTHY, undone=("the rules of nftables could not be read",))

    assert kinds(facts) == [("notice", "not.looked")]
