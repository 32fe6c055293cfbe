"""Who answers for an address, asked of every host itself and not of the one that ARP names.

A client only ever talks to one host, so it cannot tell that another answers too.  The witness
asks the link by ARP, and each host by IP under its own MAC, once a millisecond.

What this module does not do: tell what a client notices (``haagent.lab.probes``).
"""

import time
from collections.abc import Mapping

from haagent.lab.host import Host
from haagent.lab.probes import Probes, probe_udp
from haagent.lab.topology import Lab

_FIRST = 80
"""Of the numbers of its own hosts, one for each that is asked."""


class Witness:
    """See the module docstring.  The hosts asked must run ``haagent.lab.responder``."""

    def __init__(self, lab: Lab, asked: Mapping[str, Host], address: str) -> None:
        self._lab = lab
        self._names = {host.hardware_address(): name for name, host in asked.items()}
        askers = {
            name: lab.add_host(f"witness{number}", _FIRST + number)
            for number, name in enumerate(asked, 1)
        }
        for name, asker in askers.items():
            entry = (address, "lladdr", asked[name].hardware_address(), "dev", "eth0")
            asker.run("ip", "neighbor", "replace", *entry, "nud", "permanent")
        self._ip = {name: probe_udp(asker, address) for name, asker in askers.items()}
        any_asker = next(iter(askers.values()))
        prober = any_asker.start_module("arp-prober", "haagent.lab.arp_prober", address)
        self._arp = Probes(prober)

    def answers(self, name: str, since_ns: int) -> list[int]:
        """Return each instant from ``since_ns`` on at which the host was heard, in order."""
        heard = [o for o in self._ip[name].outcomes() if o.ok]
        heard += [o for o in self._arp.outcomes() if self._names.get(o.who) == name]
        return sorted(o.ended_ns for o in heard if o.ended_ns >= since_ns)

    def last_answer(self, name: str, since_ns: int) -> int:
        """Return how long after ``since_ns`` the host was last heard, 0 when not at all."""
        return max(self.answers(name, since_ns), default=since_ns) - since_ns

    def both(self, old: str, new: str, since_ns: int) -> int:
        """Return how long ``old`` was heard after ``new`` had first been, since ``since_ns``."""
        first = min(self.answers(new, since_ns), default=None)
        return 0 if first is None else self.last_answer(old, first)

    def wait_for(self, name: str, since_ns: int, deadline_s: float = 15) -> int:
        """Return how long after ``since_ns`` the host was first heard, once it is."""
        heard = self._lab.wait_until(
            lambda: self.answers(name, since_ns), deadline_s, f"{name} is heard"
        )
        return heard[0] - since_ns

    def wait(self, seconds: float, since_ns: int) -> None:
        """Go on listening until so long after ``since_ns``."""
        end = since_ns + int(seconds * 1e9)
        what = f"{seconds} s pass"
        self._lab.wait_until(lambda: time.monotonic_ns() > end, seconds + 5, what)
