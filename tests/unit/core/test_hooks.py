"""What is kept of how hooks ended; what runs and when is told by the scenarios."""

from random import Random

from haagent.core.actions import RunHook
from haagent.core.clocks import Clocks
from haagent.core.events import HookEnded
from haagent.core.hooks import KEPT_RESULTS, Hooks
from haagent.core.journal import Journal
from haagent.core.settings import HookSettings
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

HOOK = HookSettings(command=("x",))
NOW = Moment(MonoNs(0), WallNs(0))


def ended(queue: str, kind: str = "master", *, ok: bool, text: str = "x") -> HookEnded:
    action = RunHook(queue=queue, kind=kind, hook=HOOK, facts=())
    return HookEnded(action=action, ok=ok, text=text, took=milliseconds(5))


def alarms(journal: Journal) -> list[str]:
    return [alarm.text for alarm in journal.alarms]


def test_a_hook_that_is_not_configured_does_not_run() -> None:
    hooks = Hooks(Journal(Clocks()))

    hooks.run("group web", "master", None, ())
    hooks.run("group web", "any", HOOK, [("event", "master")])

    facts = (("event", "master"),)
    assert hooks.take() == [RunHook(queue="group web", kind="any", hook=HOOK, facts=facts)]
    assert hooks.take() == []


def test_an_alarm_lasts_until_the_same_hook_ends_well() -> None:
    journal = Journal(Clocks())
    hooks = Hooks(journal)

    hooks.ended(NOW, ended("group web", ok=False, text="failed"))
    hooks.ended(NOW, ended("group web", "backup", ok=True))
    hooks.ended(NOW, ended("group mail", ok=True))

    assert alarms(journal) == ["master of group web: failed"]
    hooks.ended(NOW, ended("group web", ok=True))
    assert alarms(journal) == []
    assert [(each.queue, each.kind, each.ok) for each in hooks.status()] == [
        ("group web", "backup", True),
        ("group mail", "master", True),
        ("group web", "master", True),
    ]


def test_the_hooks_of_a_fleet_are_no_news_each_and_are_not_all_kept() -> None:
    journal = Journal(Clocks())
    hooks = Hooks(journal)
    names = [f"node app{number}" for number in range(KEPT_RESULTS + 50)]
    Random(1).shuffle(names)

    for name in names:
        hooks.ended(NOW, ended(name, "on_dead", ok=True))
    hooks.ended(NOW, ended("node a", "on_dead", ok=False))
    for name in names:
        hooks.ended(NOW, ended(name, "on_dead", ok=True))

    assert [each.queue for each in hooks.status()] == names[-KEPT_RESULTS:]
    assert alarms(journal) == [], "an alarm that nobody can end any more"
    assert {record.kind for record in journal.records} == {"hook.failed", "hook.failed.cleared"}


def test_of_a_group_that_was_left_nothing_stays() -> None:
    journal = Journal(Clocks())
    hooks = Hooks(journal)
    hooks.ended(NOW, ended("group web", ok=False))

    hooks.forget(NOW, "group web")
    hooks.ended(NOW, ended("group web", "stop", ok=False))

    assert (alarms(journal), hooks.status()) == ([], ())


def test_a_group_that_comes_back_is_told_of_again() -> None:
    hooks = Hooks(Journal(Clocks()))
    hooks.forget(NOW, "group web")

    hooks.run("group web", "backup", HOOK, ())
    hooks.ended(NOW, ended("group web", "backup", ok=True))

    assert len(hooks.status()) == 1
