"""The groups that this agent is in: entered, changed and left as the configuration has them.

It takes part in a group while the interface of its addresses is up, and only then.

What this module does not do: elect (``haagent.core.election``), or move an address
(``haagent.core.ownership``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Concatenate, ParamSpec

from haagent.core.actions import Action, Severity, Tenure, WatchChecks
from haagent.core.checks import CheckSettings
from haagent.core.election import Election, Say
from haagent.core.events import Steered
from haagent.core.group import Group
from haagent.core.hooks import Hooks
from haagent.core.identity import NO_TERM, BootId, GroupId, Term
from haagent.core.journal import Journal
from haagent.core.membership import Membership
from haagent.core.outbox import Outbox
from haagent.core.settings import AgentSettings, GroupSettings
from haagent.core.units import Moment, MonoNs

P = ParamSpec("P")


class Groups:
    """See the module docstring.  Iterates over the groups that it is in."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        boot: BootId,
        terms: Mapping[GroupId, Term],
        kept: Iterable[Tenure],
        membership: Membership,
        journal: Journal,
        outbox: Outbox,
        hooks: Hooks,
        random: Random,
    ) -> None:
        """``terms``, ``kept``: as for the agent."""
        self._settings = settings
        self._boot = boot
        self._membership = membership
        self._journal = journal
        self._outbox = outbox
        self._hooks = hooks
        self._random = random
        self._terms = dict(terms)
        """The highest of each group that we are not in."""
        self._links: dict[str, bool] = {}
        """Whether each interface is up, as far as it is known."""
        tenures = {tenure.group: tenure for tenure in kept}
        self._configured = {group.id: group for group in settings.groups}
        self._in_place = False
        """Whether the groups are those of the configuration, and so is what is checked."""
        self._checks: frozenset[tuple[GroupId, CheckSettings]] = frozenset()
        self._groups = {
            key: self._make(group, tenures.get(key)) for key, group in self._configured.items()
        }

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def __getitem__(self, key: GroupId) -> Group:
        return self._groups[key]

    def get(self, key: GroupId) -> Group | None:
        """Return the group, if we are in it."""
        return self._groups.get(key)

    def on(self, interface: str) -> list[Group]:
        """Return those whose addresses belong on ``interface``."""
        return [group for group in self if group.settings.interface == interface]

    def lead(
        self,
        now: Moment,
        change: Callable[Concatenate[Election, MonoNs, P], list[Say]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[Action]:
        """Let ``change`` happen to the election of each; return what follows from it."""
        return [action for group in self for action in group.lead(now, change, *args, **kwargs)]

    def link_changed(self, now: Moment, interface: str, *, up: bool) -> list[Action]:
        """Take in that ``interface`` is up or down."""
        self._links[interface] = up
        return [action for group in self.on(interface) for action in self.follow_link(now, group)]

    def follow_link(self, now: Moment, group: Group) -> list[Action]:
        """Take part in the group if its interface is up, and only then."""
        up = self._links.get(group.settings.interface)
        if up is None:
            return []  # It will be told.
        subject = f"interface {group.settings.interface}"
        if up:
            self._journal.clear(now, "link.down", subject)
        else:
            text = f"{subject} is down, missing or in a bridge"
            self._journal.alarm(now, "link.down", subject, text, severity=Severity.ERROR)
        return group.lead(now, Election.link_changed, up=up)

    def reconfigure(self, now: Moment, groups: Iterable[GroupSettings]) -> list[Action]:
        """Go by the configuration's ``groups``; :meth:`come_and_go` enters and leaves."""
        self._configured = {settings.id: settings for settings in groups}
        self._in_place = False
        actions: list[Action] = []
        for key, settings in self._configured.items():
            group = self._groups.get(key)
            if group is not None and group.settings != settings and not group.election.stopping:
                actions += self._change(now, group, settings)
        return actions

    def come_and_go(self, now: Moment, steered: Steered) -> list[Action]:
        """Leave the groups that the configuration has no longer, and enter those that are new.

        One that was taken out and put in again is left first.
        """
        if self._in_place:
            return []
        actions: list[Action] = []
        for key, group in [*self._groups.items()]:
            if key not in self._configured or group.election.stopping:
                actions += group.leave(now)
                if group.left:
                    self._forget(now, group)
        for key, settings in self._configured.items():
            if key not in self._groups:
                group = self._groups[key] = self._make(settings)
                self._journal.record(now, "config.applied", "entered", group=settings.name)
                actions += self.follow_link(now, group)
                actions += group.steer(now, steered)
        return actions

    def watch_checks(self) -> list[Action]:
        """Return what to look at from now on, when that is something else than before."""
        if self._in_place:
            return []
        leaving = any(group.election.stopping for group in self)
        self._in_place = not leaving and self._groups.keys() == self._configured.keys()
        checks = frozenset(
            (key, check) for key, group in self._groups.items() for check in group.settings.checks
        )
        if checks == self._checks:
            return []
        self._checks = checks
        return [WatchChecks(checks)]

    def _change(self, now: Moment, group: Group, settings: GroupSettings) -> list[Action]:
        before = group.settings.interface
        actions = group.reconfigure(now, settings)
        if settings.interface != before:
            actions += self.follow_link(now, group)
            self._forget_link(now, before)
        return actions

    def _forget(self, now: Moment, group: Group) -> None:
        key = group.settings.id
        del self._groups[key]
        self._terms[key] = group.election.term
        self._journal.record(now, "config.applied", "left", group=group.settings.name)
        self._forget_link(now, group.settings.interface)
        self._hooks.forget(now, group.hooks.queue)
        for peer in self._membership.forget(key):
            peer.introduced = False
            self._journal.record(now, "peer.left", f"{peer.name} has no group in common with us")

    def _forget_link(self, now: Moment, interface: str) -> None:
        if not self.on(interface):
            self._journal.clear(now, "link.down", f"interface {interface}")

    def _make(self, group: GroupSettings, tenure: Tenure | None = None) -> Group:
        election = Election(
            group=group,
            timing=self._settings.heartbeat,
            membership=self._membership,
            node=self._settings.node_id,
            boot=self._boot,
            # What is reserved ahead of the mastership that was left to us would overtake it.
            term=self._terms.get(group.id, NO_TERM) if tenure is None else tenure.term,
            random=self._random,
            tenure=tenure,
        )
        return Group(
            settings=self._settings,
            group=group,
            election=election,
            membership=self._membership,
            journal=self._journal,
            outbox=self._outbox,
            hooks=self._hooks,
        )
