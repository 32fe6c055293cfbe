"""What ``haagent check`` says of hooks and notifications."""

from collections.abc import Iterator
from dataclasses import fields

from haagent.config.values import shown
from haagent.core.notices import NotificationSettings
from haagent.core.settings import BeforeClaim, GroupHooks, GroupSettings, OnFail

_ON_FAIL = {
    OnFail.CLAIM: "claims all the same",
    OnFail.GIVE_WAY: "steps down for 10s",
}


def hooks_of(group: GroupSettings) -> Iterator[str]:
    """Yield what runs in ``group``, a line each."""
    names = [each.name for each in fields(GroupHooks) if each.name != "before_claim"]
    written = [name for name in names if getattr(group.hooks, name) is not None]
    if written:
        yield f"hooks: {', '.join(written)}"
    if before := group.hooks.before_claim:
        yield f"before_claim: {_wait(before)}"


def _wait(before: BeforeClaim) -> str:
    return (
        f"a new master waits for it, {shown(before.timeout)} at most; "
        f"if it fails the agent {_ON_FAIL[before.on_fail]}"
    )


def told(entry: NotificationSettings) -> str:
    """Return who is told of what."""
    limit = f"at most {entry.limit.count} messages in {shown(entry.limit.per)}"
    kinds = ", ".join(entry.kinds)
    return f"{entry.urls_file}: {kinds} from {entry.severity.name.lower()} on, {limit}"


def waits(groups: tuple[GroupSettings, ...]) -> Iterator[str]:
    """Yield for which groups a takeover takes longer than it has to."""
    for group in groups:
        if before := group.hooks.before_claim:
            yield (
                f"nobody has the addresses of {group.name} while before_claim runs: up to "
                f"{shown(before.timeout)} at each takeover and handover"
            )
