"""What is wrong with the cluster as a whole: names, files, clocks, masters, and who has an address.

Each function takes the facts and yields what it finds.
"""

from collections.abc import Iterator

from haagent.core.group import config_hash
from haagent.core.identity import NodeId
from haagent.core.settings import GroupSettings, IPAddress
from haagent.doctor.facts import Facts, Voice
from haagent.doctor.findings import Finding, error, notice, warning
from haagent.doctor.network import OF_ANOTHER_KEY, voices
from haagent.doctor.vendors import vendor

SKEW_MS = 1_000
"""By so much clocks may differ: records are ordered by them, timers are not."""

_OWNING = {"master", "resigning"}


def cluster(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the cluster."""
    for find in (agent, duplicates, configurations, clocks, masters, owners):
        yield from find(facts)


def agent(facts: Facts) -> Iterator[Finding]:
    """The agent of this host: whether it runs, and in time."""
    if facts.agent is None:
        text = f"no agent runs on this host: {facts.agent_trouble}"
        yield error("agent.down", text, "journalctl -u haagent says why; systemctl start haagent")
        return
    late, interval = facts.agent.lateness_ms, facts.settings.heartbeat.interval / 1_000_000
    if late < interval / 4:
        return
    text = f"the agent was up to {late:.0f} ms late, at an interval of {interval:.0f} ms"
    cure = "see what takes the processor (top, and %st of a virtual machine); a longer interval"
    finding = error if late >= interval else warning
    yield finding("agent.late", text, cure)


def duplicates(facts: Facts) -> Iterator[Finding]:
    """Two agents under one name."""
    ours = facts.settings
    for path in facts.paths:
        places: dict[NodeId, list[Voice]] = {}
        for voice in path.voices:
            places.setdefault(voice.node, []).append(voice)
        for node, heard in places.items():
            sources = sorted(str(voice.source) for voice in heard)
            if node == ours.node_id:
                text = f"the agent at {', '.join(sources)} calls itself {ours.node}, as this host"
            elif len(heard) > 1:
                text = f"the agents at {', '.join(sources)} both call themselves {heard[0].name}"
            else:
                continue
            text = f"{path.settings.interface}: {text}"
            yield error("node.duplicate", text, "give each its own `node`, and restart it")


def configurations(facts: Facts) -> Iterator[Finding]:
    """Files that differ in what must be equal."""
    ours = {g.id: (g.name, config_hash(facts.settings.heartbeat, g)) for g in facts.settings.groups}
    for voice in _all(facts):
        differing = [
            ours[group][0]
            for group, theirs in voice.configurations.items()
            if group in ours and ours[group][1] != theirs
        ]
        if differing:
            text = f"{voice.name} has other addresses or another interval in {', '.join(differing)}"
            cure = "make `interval` and `addresses` equal in all files; reload or restart"
            yield warning("config.differs", text, cure)


def clocks(facts: Facts) -> Iterator[Finding]:
    """Wall clocks that differ, or that nobody keeps right."""
    for voice in _all(facts):
        if abs(voice.ahead_ms) < SKEW_MS:
            continue
        which = "ahead of" if voice.ahead_ms > 0 else "behind"
        text = (
            f"the clock of {voice.name} is {abs(voice.ahead_ms) / 1000:.1f} s {which} this host's"
        )
        cure = (
            "run NTP on both (timedatectl, chronyc tracking): records are ordered by these clocks"
        )
        yield warning("clock.skew", text, cure)


def masters(facts: Facts) -> Iterator[Finding]:
    """More than one master of a group."""
    for group in facts.settings.groups:
        names = {voice.name for voice in _all(facts) if group.id in voice.masters}
        if facts.agent is not None and facts.agent.roles.get(group.name) in _OWNING:
            names.add(facts.settings.node)
        if len(names) > 1:
            text = f"group {group.name} has more than one master: {', '.join(sorted(names))}"
            cure = "mend what is wrong with the paths, or with names; it then settles by itself"
            yield error("master.two", text, cure)


def owners(facts: Facts) -> Iterator[Finding]:
    """A virtual address that is where it should not be."""
    if facts.owners is None:
        return
    for group in facts.settings.groups:
        if _has_moved(facts, group):
            # Whatever was answered before that, and after it, does not fit together.
            text = f"group {group.name} got another master meanwhile: its addresses are not judged"
            yield notice("group.moved", text, "look again")
            continue
        for address in group.addresses:
            yield from _of_address(facts, group, address.ip)


def _of_address(facts: Facts, group: GroupSettings, address: IPAddress) -> Iterator[Finding]:
    assert facts.owners is not None
    where = f"{address} (group {group.name})"
    shown = {o.mac for o in facts.owners if (o.interface, o.address) == (group.interface, address)}
    held = any(here.ip == address for _, here in facts.machine.addresses)
    state = facts.agent.roles.get(group.name) if facts.agent is not None else None
    if held and state not in _OWNING:
        why = "no agent runs" if facts.agent is None else f"its agent is {state or 'not in it'}"
        text = f"{where} is on this host, though {why}: left by an agent that ended, or put by hand"
        yield error("address.left", text, "stop the agent, then: haagent release")
    known = _macs(facts, group.interface)
    for mac in sorted(shown):
        if mac in known:
            yield from _of_agent(where, known[mac], group, held=held)
        elif held or len(shown) > 1 or _is_foreign(facts, group, mac):
            kind = vendor(mac)
            text = f"{where} is also used by {mac}{f' ({kind})' if kind else ''}, which is no agent"
            text += f" that is heard on {group.interface}"
            cure = "find that host by the switch's table of MACs, and take the address off it"
            yield error("address.foreign", text, cure)


def _of_agent(where: str, voice: Voice, group: GroupSettings, *, held: bool) -> Iterator[Finding]:
    if held or group.id not in voice.masters:
        state = "this host has it" if held else f"{voice.name} is not master"
        text = f"{voice.name} ({voice.source}) answers for {where}, though {state}"
        yield error("address.left", text, f"on {voice.name}: stop the agent, then haagent release")


def _has_moved(facts: Facts, group: GroupSettings) -> bool:
    here = facts.agent is not None and group.name in facts.agent.moved
    return here or any(group.id in voice.moved for voice in _all(facts))


def _is_foreign(facts: Facts, group: GroupSettings, mac: str) -> bool:
    """Return whether a MAC that no agent was heard from must be a stranger's."""
    for path in facts.paths:
        if any(mac in each.macs for each in path.strangers if each.reason in OF_ANOTHER_KEY):
            return False  # An agent with another key, most likely, and that is told.
    elsewhere = any(group.id in voice.masters for voice in _all(facts))
    # A master that is heard on other interfaces only has a MAC here that nobody knows.
    return not elsewhere or bool(_macs(facts, group.interface))


def _macs(facts: Facts, interface: str) -> dict[str, Voice]:
    """Return who is heard from which MAC on ``interface``."""
    return {
        mac: voice
        for path in facts.paths
        if path.settings.interface == interface
        for voice in voices(facts, path)
        for mac in voice.macs
    }


def _all(facts: Facts) -> list[Voice]:
    """Return every other agent once, as it is heard on the first of its paths."""
    heard: dict[NodeId, Voice] = {}
    for path in facts.paths:
        for voice in voices(facts, path):
            heard.setdefault(voice.node, voice)
    return list(heard.values())
