"""What is wrong with this host: kernel, firewall, HAProxy, and who else manages its interfaces.

Each function takes the facts and yields what it finds.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from haagent.core.settings import IPAddress
from haagent.doctor.facts import Facts
from haagent.doctor.findings import Finding, error, notice, warning

_CURES = {
    "systemd-networkd": "`KeepConfiguration=yes` under [Network] of the interface's .network file",
    "NetworkManager": "`unmanaged-devices=interface-name:...` under [keyfile] of its configuration",
}


def host(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with this host."""
    for find in (haproxy, listeners, closed_chains, same_lan, ipv6, managers, clock, undone):
        yield from find(facts)


def haproxy(facts: Facts) -> Iterator[Finding]:
    """A HAProxy that does not answer."""
    if facts.proxy is not None and facts.proxy.trouble:
        cure = "systemctl status haproxy; see docs/operations.md, HAProxy, for its socket"
        yield error("haproxy.unreachable", facts.proxy.trouble, cure)


def listeners(facts: Facts) -> Iterator[Finding]:
    """A HAProxy that would not hear what comes to a virtual address."""
    if facts.proxy is None or facts.proxy.listens is None or facts.proxy.trouble:
        return
    listens = facts.proxy.listens
    for group in facts.settings.groups:
        for address in (each.ip for each in group.addresses):
            if _on_every(address, listens):
                continue
            if address not in listens:
                text = f"HAProxy listens neither on {address} (group {group.name}) nor on all"
                cure = "in haproxy.cfg: `bind :::80 v4v6`, which needs no setting of the kernel"
                yield error("haproxy.deaf", text, cure)
            elif not _nonlocal(facts, address):
                text = (
                    f"HAProxy listens on {address} itself: it cannot start while that is elsewhere"
                )
                cure = f"`bind :::80 v4v6`, or sysctl net.ipv{address.version}.ip_nonlocal_bind=1"
                yield warning("nonlocal.bind", text, cure)


def closed_chains(facts: Facts) -> Iterator[Finding]:
    """A firewall that seems to let no heartbeat in; where any came in, it does not."""
    passed = [voice.passed for path in facts.paths for voice in path.voices]
    if any(count.to_all or count.to_us for count in passed):
        return
    for chain in facts.machine.closed_chains:
        text = f"{chain} drops what no rule accepts, and no rule names the port of heartbeats"
        port = facts.settings.heartbeat.port
        yield warning("firewall.closed", text, f"accept UDP and TCP to port {port}, and ICMP echo")


def same_lan(facts: Facts) -> Iterator[Finding]:
    """Two interfaces in one network, where Linux by default answers on either for both."""
    groups = {
        g.interface for g in facts.settings.groups if any(_is_ipv4(a.ip) for a in g.addresses)
    }
    paths = {path.interface for path in facts.settings.heartbeat.paths}
    for interface in sorted(groups | paths):
        others = _sharing(facts, interface)
        if not others:
            continue
        where = f"{interface} and {', '.join(others)} are in one network"
        if interface in groups and (
            _sysctl(facts, interface, "arp_ignore") == 0
            or _sysctl(facts, interface, "arp_announce") != 2
        ):
            text = f"{where}, and Linux answers ARP for the virtual addresses on any of them"
            cure = "sysctl net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
            yield warning("arp.flux", text, cure)
        if interface in paths and _sysctl(facts, interface, "rp_filter") == 1:
            text = (
                f"{where}, and rp_filter drops what comes on another than the route to its sender"
            )
            cure = f"sysctl net.ipv4.conf.{interface}.rp_filter=2 (and all), or different networks"
            yield warning("rp.filter", text, cure)


def ipv6(facts: Facts) -> Iterator[Finding]:
    """IPv6 addresses that the kernel would not take."""
    for group in facts.settings.groups:
        name = f"net.ipv6.conf.{group.interface}.disable_ipv6"
        claims = any(not _is_ipv4(address.ip) for address in group.addresses)
        if claims and facts.machine.sysctls.get(name) == "1":
            text = f"IPv6 is off on {group.interface}, and group {group.name} has IPv6 addresses"
            yield error("ipv6.disabled", text, f"sysctl {name}=0")


def managers(facts: Facts) -> Iterator[Finding]:
    """Somebody else who would remove an address that he did not put there."""
    for group in facts.settings.groups:
        manager = facts.machine.managers.get(group.interface)
        if manager is not None:
            text = f"{manager} manages {group.interface}: it may remove the addresses of"
            text += f" group {group.name} when it is restarted or configures the interface anew"
            yield warning("interface.managed", text, _CURES[manager])


def clock(facts: Facts) -> Iterator[Finding]:
    """A clock that nobody keeps right."""
    if facts.machine.synchronised is False:
        text = "the wall clock of this host is not synchronised, so records may be out of order"
        yield warning("time.unsynchronised", text, "run NTP: systemd-timesyncd or chrony")


def undone(facts: Facts) -> Iterator[Finding]:
    """What could not be looked at."""
    for text in facts.undone:
        yield notice("not.looked", text, "run the doctor as root")


def _is_ipv4(address: IPAddress) -> bool:
    return address.version == 4


def _on_every(address: IPAddress, listens: frozenset[IPAddress]) -> bool:
    """Return whether somebody listens on every address of that family; :: mostly means both."""
    every = {IPv6Address("::")} if address.version == 6 else {IPv4Address(0), IPv6Address("::")}
    return bool(every & listens)


def _nonlocal(facts: Facts, address: IPAddress) -> bool:
    name = f"net.ipv{address.version}.ip_nonlocal_bind"
    return facts.machine.sysctls.get(name) == "1"


def _sharing(facts: Facts, interface: str) -> list[str]:
    """Return the other interfaces that have an IPv4 address in a network of ``interface``."""
    virtual = {a.ip for group in facts.settings.groups for a in group.addresses}
    real = [
        (name, address)
        for name, address in facts.machine.addresses
        if address.version == 4 and address.ip not in virtual and not address.ip.is_loopback
    ]
    ours = {address.network for name, address in real if name == interface}
    return sorted(
        {
            name
            for name, address in real
            if name != interface and any(address.ip in network for network in ours)
        }
    )


def _sysctl(facts: Facts, interface: str, name: str) -> int:
    """Return what is in force: of the interface and of all, the greater."""
    values = (
        facts.machine.sysctls.get(f"net.ipv4.conf.{each}.{name}", "0")
        for each in ("all", interface)
    )
    return max(map(int, values))
