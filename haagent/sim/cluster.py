"""A handful of hosts on one network, and the trace of what they did.

Make one with the settings of each agent and a seed, start its hosts, let time pass with
:meth:`Cluster.run` and hurt it by the faults of :class:`~haagent.sim.host.Host` and
:class:`~haagent.sim.network.Network`.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from random import Random

from haagent.core.settings import AgentSettings
from haagent.core.units import DurationNs, MonoNs, later, milliseconds
from haagent.sim.checks import Safety, disagreements
from haagent.sim.host import Host
from haagent.sim.network import Delays, Network
from haagent.sim.schedule import Schedule

LOOK = milliseconds(50)


class Cluster:
    """See the module docstring."""

    def __init__(
        self,
        settings: Sequence[AgentSettings],
        seed: int,
        *,
        codec: bool = False,
        reorders: bool = False,
        delays: Delays = Delays.EXPONENTIAL,
        closes_at_death: bool = True,
        labels: Sequence[str] = (),
    ) -> None:
        """Make hosts that are not started, called h1, h2 and so on unless ``labels`` has others.

        With ``codec`` every datagram goes through bytes.  With ``reorders`` datagrams overtake
        each other by some microseconds; ``delays`` says how long they travel.  With
        ``closes_at_death`` the kernel closes the fences of a killed agent at once, as at the
        levels bpf and nft.
        """
        self.random = Random(seed)  # noqa: S311  # repeatable, not secret
        self.schedule = Schedule()
        self.network = Network(
            self.schedule, self.random, len(settings), delays=delays, reorders=reorders
        )
        self.safety = Safety()
        self._trace: list[tuple[MonoNs, str, str, tuple[object, ...], bool]] = []
        """When, who, a format and what goes into it, and whether it is a detail: most traces are
        never read."""
        self.hosts = [
            Host(
                index=index,
                label=labels[index] if labels else f"h{index + 1}",
                settings=each,
                schedule=self.schedule,
                network=self.network,
                safety=self.safety,
                note=self.note,
                random=self.random,
                codec=codec,
                closes_at_death=closes_at_death,
            )
            for index, each in enumerate(settings)
        ]

    def start(self) -> None:
        """Start every host that does not run."""
        for host in self.hosts:
            host.start()

    def run(self, duration: DurationNs) -> None:
        """Let time pass."""
        self.schedule.run(later(self.schedule.now, duration))

    def host(self, node: str) -> Host:
        """Return the first host whose agent has that name."""
        return next(host for host in self.hosts if host.settings.node == node)

    def note(self, who: str, text: str, *args: object, detail: bool = False) -> None:
        """Write a line into the trace: ``text`` is a format for ``args``, all immutable."""
        self._trace.append((self.schedule.now, who, text, args, detail))

    def story(self, *, details: bool) -> Iterator[tuple[MonoNs, str, str]]:
        """Yield what happened, when and to whom; words and addresses are details."""
        for at, who, text, args, detail in self._trace:
            if details or not detail:
                yield at, who, text % args if args else text

    @property
    def trace(self) -> list[str]:
        """Return what happened, a line each."""
        return [f"{at / 1e9:10.6f} {who:<4} {text}" for at, who, text in self.story(details=True)]

    def holders(self, group: int = 0) -> list[str]:
        """Return which hosts have all addresses of the group at that position."""
        addresses = self.hosts[0].settings.groups[group].addresses
        return [h.label for h in self.hosts if all(a.ip in h.addresses for a in addresses)]

    def answering(self, group: int = 0) -> list[str]:
        """Return which hosts answer for all addresses of the group at that position."""
        addresses = self.hosts[0].settings.groups[group].addresses
        return [h.label for h in self.hosts if all(h.answers(a.ip) for a in addresses)]

    def disagreements(self) -> list[str]:
        """Return all in which the hosts are not of one mind; empty when all is well."""
        return disagreements(self.hosts, self.network.neighbours)

    def digest(self) -> str:
        """Return a hash over the trace and the whole end state, logical clocks included."""
        end = [host.agent.status() if host.agent else None for host in self.hosts]
        return sha256("\n".join([*self.trace, repr(end)]).encode()).hexdigest()

    def watch(self, duration: DurationNs) -> list[str]:
        """Let a calm time pass; return when an address had two hosts, or none for long.

        A planned handover may leave an address without a host at one look, not at two.
        """
        found: list[str] = []
        missing = [0] * len(self.hosts[0].settings.groups)
        end = later(self.schedule.now, duration)
        while self.schedule.now < end:
            self.run(LOOK)
            for position in range(len(missing)):
                answering = self.answering(position)
                missing[position] = 0 if answering else missing[position] + 1
                if len(answering) > 1 or missing[position] > 1:
                    found.append(f"{self.schedule.now / 1e9:.3f} s: {answering} answer")
        return found
