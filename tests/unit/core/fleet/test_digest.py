"""Records of very many things at once."""

from haagent.core.actions import Severity
from haagent.core.clocks import Clocks
from haagent.core.fleet.digest import ALONE, WINDOW, Digest
from haagent.core.journal import Journal
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(0))


class Told:
    """A digest, and what has come out of it."""

    def __init__(self) -> None:
        self.journal = Journal(Clocks())
        self.digest = Digest(self.journal)

    def records(self, count: int, ms: int = 0) -> None:
        for number in range(1, count + 1):
            name = f"app{number}"
            self.digest.record(at(ms), "node.dead", name, f"{name} died", Severity.WARNING)

    @property
    def texts(self) -> list[str]:
        return [record.text for record in self.journal.take()]


def test_a_few_are_told_each_and_at_once() -> None:
    told = Told()
    told.records(ALONE)

    assert told.texts == [f"app{number} died" for number in range(1, ALONE + 1)]
    told.digest.tick(at(10_000))
    assert told.texts == []


def test_the_rest_of_many_is_told_in_one_when_the_window_ends() -> None:
    told = Told()
    told.records(10_000)
    assert len(told.texts) == ALONE
    assert told.digest.deadline() == MonoNs(WINDOW)

    told.digest.tick(Moment(MonoNs(WINDOW - 1), WallNs(0)))
    assert told.texts == []
    told.digest.tick(Moment(MonoNs(WINDOW), WallNs(0)))

    (record,) = told.journal.take()
    assert record.severity is Severity.WARNING
    assert record.text == (
        "and 9995 more: app6, app7, app8, app9, app10, app11, app12, app13, app14, app15 and 9985 "
        "more"
    )
    assert told.digest.deadline() is None


def test_one_alone_keeps_its_own_words() -> None:
    told = Told()
    told.records(ALONE + 1)
    told.digest.tick(at(10_000))

    assert told.texts[-1] == f"app{ALONE + 1} died"


def test_kinds_are_counted_apart_and_a_new_window_begins_anew() -> None:
    told = Told()
    told.records(ALONE + 2)
    told.digest.record(at(0), "node.back", "app1", "app1 is back")
    assert told.texts[-1] == "app1 is back"
    told.digest.tick(at(10_000))
    assert told.texts == ["and 2 more: app6, app7"]

    told.records(1, ms=10_001)

    assert told.texts == ["app1 died"]
