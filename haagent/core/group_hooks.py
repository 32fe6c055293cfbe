"""The hooks of one group: what runs for a change of role, and what a claim waits for.

What this module does not do: claim anything (``ownership``), or choose a role (``election``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from haagent.core.actions import CancelHook, Fact, RunHook
from haagent.core.election import Election
from haagent.core.events import HookEnded
from haagent.core.hooks import Hooks
from haagent.core.membership import Membership
from haagent.core.messages import State
from haagent.core.settings import BeforeClaim, GroupSettings, OnFail
from haagent.core.units import DurationNs, Moment, MonoNs, later

_ROLES = {State.MASTER: "master", State.BACKUP: "backup", State.FAULT: "fault"}
"""Of the other states no hook is told: they are on the way to one of these."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """What the addresses wait for, and until when."""

    before: BeforeClaim
    run: RunHook
    due: MonoNs


class GroupHooks:
    """See the module docstring."""

    def __init__(
        self,
        *,
        node: str,
        group: GroupSettings,
        election: Election,
        hooks: Hooks,
        membership: Membership,
    ) -> None:
        self.settings = group
        self._node = node
        self._election = election
        self._hooks = hooks
        self._membership = membership
        self._told: str | None = None
        """The role of which the hooks were told last."""
        self._wait: _Wait | None = None

    @property
    def queue(self) -> str:
        return f"group {self.settings.name}"

    @property
    def before_claim(self) -> RunHook | None:
        """The hook that the addresses wait for."""
        return None if self._wait is None else self._wait.run

    @property
    def due(self) -> MonoNs | None:
        """When the addresses have waited long enough."""
        return None if self._wait is None else self._wait.due

    def goes_on(self) -> None:
        """Take in that this process is master because the one before it was: nothing is new."""
        self._told = "master"

    def notice_role(self, now: Moment) -> None:
        """Have the hooks run if there is news for them."""
        role = "stop" if self._election.stopped else _ROLES.get(self._election.state)
        if role is None or role == self._told or self._wait is not None:
            return
        facts = self._facts(now, role)
        self._told = role
        self._hooks.run(self.queue, role, getattr(self.settings.hooks, role), facts)
        self._hooks.run(self.queue, "any", self.settings.hooks.any, facts)

    def hold_up(self, now: Moment) -> RunHook | None:
        """Have the addresses wait, if anything is to come before them; return what runs."""
        before = self.settings.hooks.before_claim
        if before is None:
            return None
        run = RunHook(
            queue=self.queue,
            kind="before_claim",
            hook=before.hook,
            facts=self._facts(now, "before_claim"),
        )
        self._wait = _Wait(before, run, later(now.mono, before.timeout))
        return run

    def cancel(self) -> list[CancelHook]:
        """Wait for nothing any more."""
        if self._wait is None:
            return []
        run, self._wait = self._wait.run, None
        return [CancelHook(run)]

    def ended(self, event: HookEnded) -> OnFail | None:
        """Return what follows for the addresses: to be claimed, or given up; None if nothing."""
        wait = self._wait
        if wait is None or event.action != wait.run:
            return None
        self._wait = None
        return OnFail.CLAIM if event.ok else wait.before.on_fail

    def overdue(self, now: Moment) -> OnFail | None:
        """Return the same, where the time is over."""
        wait = self._wait
        if wait is None or now.mono < wait.due:
            return None
        text = f"has not ended within {wait.before.timeout // 1_000_000} ms, nobody waits any more"
        took = DurationNs(wait.before.timeout + now.mono - wait.due)
        event = HookEnded(action=wait.run, ok=False, text=text, took=took)
        self._hooks.ended(now, event)
        return self.ended(event)

    def _facts(self, now: Moment, event: str) -> tuple[Fact, ...]:
        election, group = self._election, self.settings
        role = {"before_claim": "master", "stop": "stopped"}.get(event, event)
        instant = datetime.fromtimestamp(now.wall // 1_000_000 / 1000, UTC)
        return (
            ("event", event),
            ("group", group.name),
            ("node", self._node),
            ("role", role),
            ("previous", self._told),
            ("term", election.term),
            ("reason", election.reason.name.lower()),
            ("addresses", tuple(str(address) for address in group.addresses)),
            ("interface", group.interface),
            ("master", self._master()),
            ("time", instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
        )

    def _master(self) -> str | None:
        """Return the name of the master, as far as it is known."""
        if self._election.state is State.MASTER:
            return self._node
        master = self._election.master
        peer = None if master is None else self._membership.get(master)
        return peer.name if peer is not None and peer.introduced else None
