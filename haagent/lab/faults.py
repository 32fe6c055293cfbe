"""Faults of the network, made at the switch: no host takes part in its own misfortune.

Each method begins one fault and returns it; :meth:`Faults.heal` ends one or all.  Every instant
given is that just before; the kernel has the rules some 5 ms later.  So a time measured from it
is a little too long, never too short.

Rules live in nftables' bridge family.  ``enter`` sees every frame that comes in at a port before
the bridge learns from it, ``forward`` every pair of ports, ``leave`` all that goes out.

What this module does not do: faults of processes (``haagent.lab.process``) and reboots
(``haagent.lab.host``).
"""

import subprocess
import time
from dataclasses import dataclass

from pyroute2 import IPRoute

from haagent.lab.errors import LabError
from haagent.lab.host import Host
from haagent.lab.namespaces import configure

_GROUPS = ("ip daddr 224.0.0.0/4", "ip6 daddr ff00::/8 meta l4proto != ipv6-icmp")
"""All groups, in nftables' words, but for those of neighbour discovery."""

_HOOKS = {"enter": "prerouting", "forward": "forward", "leave": "postrouting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, while it lasts."""

    since_ns: int
    rules: tuple[tuple[str, str], ...] = ()
    """Pairs of a chain and an nftables rule."""
    ports_down: tuple[str, ...] = ()


class Faults:
    """The faults of one switch; see the module docstring."""

    def __init__(self, switch: str) -> None:
        self._switch = switch
        self._active: list[Fault] = []

    def cut(self, host: Host, interface: str | None = None) -> Fault:
        """Drop everything from and to ``host`` while its carrier stays: it dies in silence.

        With ``interface``, on that one alone.
        """
        ports = _ports(host, interface)
        entering = [("enter", f'iifname "{port}" drop') for port in ports]
        leaving = [("leave", f'oifname "{port}" drop') for port in ports]
        return self._drop(*entering, *leaving)

    def drop_one_way(self, source: Host, destination: Host) -> Fault:
        """Drop what ``source`` sends to ``destination``; the way back stays open."""
        return self._drop(*(("forward", f"{way} drop") for way in _ways(source, destination)))

    def block_multicast(self, host: Host) -> Fault:
        """Drop all multicast from and to ``host``; unicast, and what it needs of ARP and NDP, pass.

        So does a switch that snoops, or whose storm control struck.
        """
        ends = [
            end
            for port in _ports(host)
            for end in (("enter", f'iifname "{port}"'), ("leave", f'oifname "{port}"'))
        ]
        return self._drop(
            *((place, f"{end} {kind} drop") for place, end in ends for kind in _GROUPS)
        )

    def loss(self, percent: float, host: Host, other: Host | None = None) -> Fault:
        """Drop each frame from and to ``host``, or between two hosts, with this probability."""
        if other is None:
            ends = [f'{end} "{port}"' for port in _ports(host) for end in ("iifname", "oifname")]
        else:
            ends = [*_ways(host, other), *_ways(other, host)]
        # nft refuses a comparison that is always true.
        chance = f"numgen random mod 10000 < {round(percent * 100)} " if percent < 100 else ""
        return self._drop(*(("forward", f"{end} {chance}drop") for end in ends))

    def port_down(self, host: Host, interface: str | None = None) -> Fault:
        """Take the switch port down: the host sees its carrier go."""
        ports = _ports(host, interface)
        fault = Fault(since_ns=time.monotonic_ns(), ports_down=ports)
        self._set_ports(ports, "down")
        self._active.append(fault)
        return fault

    def heal(self, fault: Fault | None = None) -> int:
        """End ``fault``, or all of them; return the instant just before."""
        moment = time.monotonic_ns()
        ended = self._active if fault is None else [fault]
        self._active = [each for each in self._active if each not in ended]
        still_down = {port for each in self._active for port in each.ports_down}
        ports = tuple(port for each in ended for port in each.ports_down if port not in still_down)
        self._commit(self._active)
        self._set_ports(ports, "up")
        return moment

    def _drop(self, *rules: tuple[str, str]) -> Fault:
        fault = Fault(since_ns=time.monotonic_ns(), rules=rules)
        self._commit([*self._active, fault])
        self._active.append(fault)
        return fault

    def _commit(self, faults: list[Fault]) -> None:
        """Put the rules of ``faults``, and no other, in force in one transaction."""
        rules = [rule for fault in faults for rule in fault.rules]
        lines = ["table bridge lab", "delete table bridge lab", "table bridge lab {"]
        for chain, hook in _HOOKS.items():
            lines += [f"chain {chain} {{", f"type filter hook {hook} priority 0"]
            lines += [rule for place, rule in rules if place == chain]
            lines += ["}"]
        command = ["ip", "netns", "exec", self._switch, "nft", "-f", "-"]
        text = "\n".join([*lines, "}\n"])
        done = subprocess.run(command, input=text, capture_output=True, check=False, text=True)
        if done.returncode:
            trouble = f"nft refused:\n{text}{done.stderr}"
            raise LabError(trouble)

    def _set_ports(self, ports: tuple[str, ...], state: str) -> None:
        def set_ports(ip: IPRoute) -> None:
            for port in ports:
                ip.link("set", index=ip.link_lookup(ifname=port)[0], state=state)

        if ports:
            configure(self._switch, set_ports)


def _ports(host: Host, interface: str | None = None) -> tuple[str, ...]:
    return tuple(host.ports.values()) if interface is None else (host.ports[interface],)


def _ways(source: Host, destination: Host) -> list[str]:
    shared = source.ports.keys() & destination.ports.keys()
    return [
        f'iifname "{source.ports[interface]}" oifname "{destination.ports[interface]}"'
        for interface in sorted(shared)
    ]
