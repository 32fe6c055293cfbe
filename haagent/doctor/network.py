"""What is wrong between the agents on the paths, drawn from what was heard and answered.

Each function takes the facts, and one path of them, and yields what it finds.

What this module does not do: judge names, files, addresses (``cluster``), or the host (``host``).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from haagent.core.messages import DiscardReason
from haagent.doctor.connect import OPEN, REFUSED
from haagent.doctor.facts import Asked, Facts, Host, Path, Stranger, Voice
from haagent.doctor.findings import Finding, error, notice, warning

ENOUGH = 3
"""So many questions without an answer are no chance."""

SETTLED_MS = 10_000
"""How long an agent must have run before it matters that somebody does not hear it."""

OF_ANOTHER_KEY = {DiscardReason.BAD_MAC, DiscardReason.UNKNOWN_KEY}

OfPath: TypeAlias = Callable[[Facts, Path], Iterator[Finding]]


def network(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong on any path."""
    if facts.key_trouble:
        yield error(
            "key.unusable",
            facts.key_trouble,
            "every agent has the same key file: docs/operations.md, First steps",
        )
    for path in facts.paths:
        for find in _ALL:
            yield from find(facts, path)


def closed(_facts: Facts, path: Path) -> Iterator[Finding]:
    """A path that cannot be used at all."""
    if path.trouble:
        cure = "bring the interface up, give it an address, or mend `heartbeat.paths`"
        yield error("path.closed", f"{_where(path)}: {path.trouble}", cure)
    if path.unsent:
        text = f"{_where(path)}: the kernel refuses: {path.unsent}"
        cure = "look for a rule on output in `nft list ruleset`, and for a route: `ip route`"
        yield error("path.unsent", text, cure)


def silent(facts: Facts, path: Path) -> Iterator[Finding]:
    """A path on which no other agent is heard, with the likely cause by what else answers."""
    refused = any(stranger.reason in OF_ANOTHER_KEY for stranger in path.strangers)
    if path.trouble or path.local is None or facts.key_trouble or voices(facts, path) or refused:
        return
    port = f"UDP port {facts.settings.heartbeat.port}"
    text, cure = (
        f"{_where(path)}: no other agent is heard",
        f"start the others, and let {port} pass",
    )
    running = _addresses(path.hosts, OPEN)
    stopped = _addresses(path.hosts, REFUSED)
    if running:
        text += f", though one runs at {running}: a firewall on either host, or the switch"
        cure = f"let {port} pass on both hosts, and compare `heartbeat.paths` in both files"
    elif stopped:
        text += f": the host {stopped} is there, but no agent runs on it"
        cure = "look there: systemctl status haagent"
    elif any(host.protocols for host in path.hosts):
        there = _list(str(host.address) for host in path.hosts if host.protocols)
        text += f": the host {there} is there, but drops what goes to the agent's port"
        cure = f"let {port} and TCP to the same port pass there"
    elif path.hosts:
        gone = _list(str(host.address) for host in path.hosts)
        text += f", and the host {gone} answers nothing at all"
        cure = "look at its power, its cable, the port of the switch, the VLAN"
    yield error("path.silent", text, cure)


def multicast(facts: Facts, path: Path) -> Iterator[Finding]:
    """What goes to all is lost, while what goes to one arrives."""
    if path.settings.peers:
        return
    theirs = [v for v in voices(facts, path) if v.wire.to_us and not v.wire.to_all]
    ours = [v for v in voices(facts, path) if v.misses_multicast or _answers_one_alone(path, v)]
    if not theirs and not ours:
        return
    losses = []
    if theirs:
        losses.append(f"from {_names(theirs)} nothing that is sent to all arrives here")
    if ours:
        losses.append(f"at {_names(ours)} nothing arrives that this host sends to all")
    group = path.settings.group
    text = (
        f"{_where(path)}: multicast to {group} is lost, what goes to one host passes: "
        f"{' and '.join(losses)}; IGMP or MLD snooping without a querier, a filter of the switch "
        "or a firewall; agents that start now would not find each other"
    )
    cure = (
        "on the switch turn snooping off for this VLAN, or give it a querier; on the hosts let "
        f"{group} pass; or name the `peers` of the path in every file"
    )
    yield error("multicast.blocked", text, cure)


def firewall(facts: Facts, path: Path) -> Iterator[Finding]:
    """What arrives at the interface, and does not get past this host's own filters."""
    for voice in voices(facts, path):
        lost = []
        if voice.wire.to_all >= ENOUGH and not voice.passed.to_all:
            lost.append("to all")
        if voice.wire.to_us >= ENOUGH and not voice.passed.to_us:
            lost.append("to this host")
        if not lost:
            continue
        machine, port = facts.machine, facts.settings.heartbeat.port
        causes = list(machine.closed_chains)
        strict = _strictest(facts, path.settings.interface)
        if strict == 1:
            causes.append("rp_filter, where the route to the sender is another")
        text = (
            f"{_where(path)}: what {voice.name} sends {' and '.join(lost)} arrives, and this host "
            f"drops it: {_list(causes) or 'a firewall'}"
        )
        yield error(
            "firewall.drops", text, f"let UDP port {port} in, see docs/operations.md, Network"
        )


def one_way(facts: Facts, path: Path) -> Iterator[Finding]:
    """Somebody is heard who does not hear us, or whose answers are lost."""
    for voice in voices(facts, path):
        asked = path.asked.get(voice.node, Asked())
        unanswered = asked.to_all + asked.to_one >= ENOUGH and not asked.answered
        settled = facts.agent is not None and facts.agent.uptime_ms >= SETTLED_MS
        deaf = voice.hears_us is False and settled
        if unanswered and voice.hears_us and not voice.wire.to_us:
            text = f"{voice.name} hears this host, but what it sends to this host alone is lost"
            cure = f"let {voice.source} to {path.local} pass, both hosts' firewalls and the switch"
            yield error("link.unicast", f"{_where(path)}: {text}", cure)
        elif unanswered and not voice.hears_us:
            text = f"{voice.name} ({voice.source}) is heard, but does not hear this host"
            cure = (
                f"at {voice.name}: the firewall, rp_filter; here: the firewall's output; between: "
                "the switch port, a cable with a dead pair"
            )
            yield error("link.oneway", f"{_where(path)}: {text}", cure)
        elif deaf and asked.answered:
            text = f"{voice.name} answers the doctor, but does not hear the agent of this host"
            cure = f"look for `unproven` and `replayed` in `haagent status` at {voice.name}"
            yield warning("agent.unheard", f"{_where(path)}: {text}", cure)


def questions(facts: Facts, path: Path) -> Iterator[Finding]:
    """A host that lives, and does not answer what is asked when its agent is late."""
    heard = {voice.source for voice in voices(facts, path)}
    for host in path.hosts:
        if host.protocols and "ICMP" not in host.protocols:
            text = f"{_where(path)}: {host.address} answers {_list(host.protocols)}, but no echo"
            cure = (
                "let ICMP echo requests in there, and replies here: fewer errors about who is dead"
            )
            yield warning("icmp.refused", text, cure)
        if host.address in heard and host.port != OPEN:
            how = "refuses connections" if host.port == REFUSED else "lets no connection through"
            text = f"{_where(path)}: {host.address} {how} to TCP port "
            text += (
                f"{facts.settings.heartbeat.port}: that its agent was killed is found by silence"
            )
            cure = "let TCP to that port pass; `haagent status` there says if it cannot listen"
            yield warning("port.closed", text, cure)


def strangers(facts: Facts, path: Path) -> Iterator[Finding]:
    """Datagrams on our port that prove nothing."""
    alone = not voices(facts, path)
    for stranger in path.strangers:
        what = f"{_where(path)}: {stranger.count} datagrams from {stranger.source}"
        yield _of_stranger(stranger, what, alone=alone)


def _of_stranger(stranger: Stranger, what: str, *, alone: bool) -> Finding:
    match stranger.reason:
        case DiscardReason.BAD_MAC | DiscardReason.UNKNOWN_KEY:
            text = f"{what} have another key, or their source was translated on the way"
            cure = (
                "compare `sha256sum` of the key files and `cluster` on both; no NAT between agents"
            )
            return error("key.differs", text, cure)
        case DiscardReason.OTHER_CLUSTER:
            text = f"{what} are of another cluster (id {stranger.detail})"
            cure = "give both the same `cluster`, if they belong together; else another `port`"
            return (error if alone else notice)("cluster.differs", text, cure)
        case DiscardReason.UNKNOWN_GROUP:
            text = f"{what} are of a group that is not in this file ({stranger.detail})"
            return warning("group.unknown", text, "make `groups` equal in all files, and reload")
        case DiscardReason.BAD_TTL:
            text = f"{what} came through a router, or are of no haagent: TTL {stranger.detail}"
            return warning(
                "ttl.changed", text, "agents must share a link; nothing may rewrite TTLs"
            )
        case _:
            text = f"{what} cannot be read: {stranger.detail}"
            return warning("port.shared", text, "give haagent or the other program another port")


def voices(facts: Facts, path: Path) -> list[Voice]:
    """Return the other agents that are heard on ``path``."""
    return [voice for voice in path.voices if voice.node != facts.settings.node_id]


def _answers_one_alone(path: Path, voice: Voice) -> bool:
    asked = path.asked.get(voice.node, Asked())
    return asked.to_all >= ENOUGH and not asked.answered_to_all and asked.answered_to_one > 0


def _strictest(facts: Facts, interface: str) -> int:
    names = (f"net.ipv4.conf.{each}.rp_filter" for each in ("all", interface))
    return max(int(facts.machine.sysctls.get(name, "0")) for name in names)


def _where(path: Path) -> str:
    local = f" {path.local}" if path.local else ""
    return f"{path.settings.interface}{local}"


def _addresses(hosts: Iterable[Host], port: str) -> str:
    return _list(str(host.address) for host in hosts if host.port == port)


def _names(heard: Iterable[Voice]) -> str:
    return _list(voice.name for voice in heard)


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


_ALL: tuple[OfPath, ...] = (
    closed,
    silent,
    multicast,
    firewall,
    one_way,
    questions,
    strangers,
)
