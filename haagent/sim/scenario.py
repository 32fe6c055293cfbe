"""Scenarios as YAML files, and faults as a line of text.

    seed: 7
    agents: 3
    preempt: never
    faults:
      - {at: 5s, kind: pause, target: lb1, length: 300ms}
      - {at: 6s, kind: one-way, target: [lb1, lb2], length: 2s}
      - {at: 7s, kind: loss, length: 2s, amount: 10%}

What is left out has the default of :class:`~haagent.sim.swarm.Scenario`.  ``configurations:
[FILE, ...]`` takes the agents from configuration files; :func:`written` does not give it back.

What this module does not do: run a scenario (``haagent.sim.swarm``).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import PlainValidator, ValidationError

from haagent.config import ConfigurationError, values
from haagent.config.document import read as read_document
from haagent.config.explain import explain
from haagent.config.model import FilePath, Interval, Section, Truth
from haagent.core.settings import Detection, Preempt
from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.configured import configured
from haagent.sim.faults import MASTER, Fault, Kind, targets_of
from haagent.sim.network import Delays
from haagent.sim.swarm import Scenario

FORM = "must be 'AT KIND [NODE...] [LENGTH [AMOUNT]]', as '5s pause lb1 300ms' or '5s loss 3s 10%'"

_LONGEST = seconds(24 * 3600)
_TIME = re.compile(r"[0-9]+(ms|s|m|h)")

_instant = values.duration(DurationNs(0), _LONGEST)
_length = values.duration(milliseconds(1), _LONGEST)


def read(path: Path) -> Scenario:
    """Return the scenario in the file at ``path``.

    Raises: ConfigurationError with every problem of the file, or of a configuration in it.
    """
    document = read_document(path)
    try:
        file = _File.model_validate(document.data)
    except ValidationError as error:
        problems = explain(document, error, _File)
        raise ConfigurationError((*document.problems, *problems)) from None
    keys = {key: getattr(file, key) for key in file.model_fields_set - {"configurations", "faults"}}
    if file.configurations:
        files = [path.absolute().parent / name for name in file.configurations]
        keys["configured"] = configured(files, file.agents or len(files))
    scenario = Scenario(**keys)
    problems = [
        document.at_key(("faults", index, key), text)
        for index, section in enumerate(file.faults)
        for key, text in _troubles(section, scenario.nodes)
    ]
    if file.configurations:
        problems += [
            document.at_key((key,), "must not be given beside configurations, which say it")
            for key in sorted(_TOLD & file.model_fields_set)
        ]
    if document.problems or problems:
        raise ConfigurationError((*document.problems, *problems))
    return replace(scenario, faults=tuple(map(_fault, file.faults)))


def written(scenario: Scenario) -> str:
    """Return the file from which :func:`read` makes ``scenario``."""
    assert not scenario.configured, "whoever has read files has their names"
    lines = [
        _line({field.name: _plain(field.name, value)})
        for field in fields(scenario)
        if field.name in _File.model_fields and field.name != "faults"
        if (value := getattr(scenario, field.name)) != field.default
    ]
    faults = [f"  - {{{_line(dict(_keys(fault)))}}}" for fault in scenario.faults]
    return "\n".join([*lines, *(["faults:"] if faults else []), *faults, ""])


def _plain(name: str, value: Any) -> object:
    if name == "interval":
        return values.shown(value)
    return value.value if isinstance(value, Enum) else value


def _line(keys: dict[str, object]) -> str:
    text: str = yaml.safe_dump(keys, sort_keys=False, default_flow_style=True, width=1000)
    return text.strip()[1:-1]


def parsed(text: str, nodes: Sequence[str]) -> Fault:
    """Return the fault that ``text`` tells, for agents of these names.

    Raises: ValueError, whose text says what is wrong.
    """
    match text.split():
        case [at, kind, *rest]:
            pass
        case _:
            raise ValueError(FORM)
    named = next((i for i, word in enumerate(rest) if _TIME.fullmatch(word)), len(rest))
    if len(rest) > named + 2:
        raise ValueError(FORM)
    keys = {"at": at, "kind": kind, "target": tuple(rest[:named])}
    keys |= zip(("length", "amount"), rest[named:], strict=False)
    try:
        section = _FaultSection.model_validate(keys)
    except ValidationError as error:
        first = error.errors()[0]
        trouble = f"{first['loc'][0]}: {first['ctx']['error']}, is {first['input']!r}"
        raise ValueError(trouble) from None
    for key, problem in _troubles(section, nodes):
        trouble = f"{key}: {problem}"
        raise ValueError(trouble)
    return _fault(section)


def _targets(raw: object) -> tuple[str, ...]:
    return tuple(map(values.name, raw if isinstance(raw, tuple) else (raw,)))


def _amount(raw: object) -> str | int:
    """Return ``raw``; the kind of the fault says later what it must be."""
    if not isinstance(raw, str | int) or isinstance(raw, bool):
        raise ValueError("must be a number, with its unit where it has one")
    return raw


class _FaultSection(Section):
    at: Annotated[MonoNs, PlainValidator(_instant)]
    kind: Annotated[Kind, PlainValidator(values.choice(Kind))]
    target: Annotated[tuple[str, ...], PlainValidator(_targets)] = ()
    length: Annotated[DurationNs, PlainValidator(_length)] | None = None
    amount: Annotated[str | int, PlainValidator(_amount)] | None = None


class _File(Section):
    seed: Annotated[int, PlainValidator(values.whole(0, 10**9))]
    configurations: tuple[FilePath, ...] | None = None
    agents: Annotated[int, PlainValidator(values.whole(1, 5))] | None = None
    interval: Interval | None = None
    preempt: Annotated[Preempt, PlainValidator(values.choice(Preempt))] | None = None
    groups: Annotated[int, PlainValidator(values.whole(1, 2))] | None = None
    paths: Annotated[int, PlainValidator(values.whole(1, 4))] | None = None
    ties: Truth | None = None
    codec: Truth | None = None
    reorders: Truth | None = None
    detection: Annotated[Detection, PlainValidator(values.choice(Detection))] | None = None
    gateway: Truth | None = None
    delays: Annotated[Delays, PlainValidator(values.choice(Delays))] | None = None
    faults: tuple[_FaultSection, ...] = ()


_TOLD = {"interval", "preempt", "groups", "paths", "ties", "detection", "gateway"}
"""What configuration files say of the agents."""


def _percent(raw: object) -> int:
    found = re.fullmatch(r"([0-9]{1,3})%", str(raw))
    if not found or not 1 <= int(found[1]) <= 100:
        raise ValueError("must be a share of the datagrams, 1%..100%")
    return int(found[1])


def _rate(raw: object) -> int:
    found = re.fullmatch(r"(-?[0-9]{1,6})ppm", str(raw))
    if not found:
        raise ValueError("must be parts in a million, as in 500ppm or -500ppm")
    return int(found[1])


def _count(raw: object) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", str(raw)) or int(str(raw)) == 0:
        raise ValueError("must be a number of datagrams, 1..9999")
    return int(str(raw))


def _step(raw: object) -> int:
    size = _length(str(raw).removeprefix("-"))
    return -size if str(raw).startswith("-") else size


def _time(length: int) -> str:
    if not length:
        return "0s"
    return ("-" if length < 0 else "") + values.shown(DurationNs(abs(length)))


class _Amount(NamedTuple):
    """How the amount of a kind is read, and how it is written."""

    parse: Callable[[object], int]
    show: Callable[[int], object]


_AMOUNTS = {
    Kind.LOSS: _Amount(_percent, "{}%".format),
    Kind.CORRUPTION: _Amount(_percent, "{}%".format),
    Kind.DUPLICATION: _Amount(_percent, "{}%".format),
    Kind.BURSTS: _Amount(_length, _time),
    Kind.DRIFT: _Amount(_rate, "{}ppm".format),
    Kind.JITTER: _Amount(_length, _time),
    Kind.SLOW: _Amount(_length, _time),
    Kind.CLOCK: _Amount(_step, _time),
    Kind.REPLAY: _Amount(_count, int),
}


_TARGETS = {
    Kind.ONE_WAY: "must be two nodes, the sender and the receiver",
    Kind.MULTICAST: "must be the nodes that get nothing that is sent to all",
    Kind.PARTITION: "must be the nodes of one side",
}
"""What they must be, where it is not just one node or none."""


def _fault(section: _FaultSection) -> Fault:
    amount = _AMOUNTS.get(section.kind)
    return Fault(
        kind=section.kind,
        at=section.at,
        length=section.length,
        targets=section.target,
        amount=amount.parse(section.amount) if amount else 0,
    )


def _keys(fault: Fault) -> Iterator[tuple[str, object]]:
    yield "at", _time(fault.at)
    yield "kind", fault.kind.value
    if fault.targets:
        yield "target", fault.targets[0] if len(fault.targets) == 1 else list(fault.targets)
    if fault.length is not None:
        yield "length", _time(fault.length)
    if fault.kind in _AMOUNTS:
        yield "amount", _AMOUNTS[fault.kind].show(fault.amount)


def _troubles(section: _FaultSection, nodes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what in a fault does not fit together, or the cluster: the key and the trouble."""
    targets = section.target
    possible = targets_of(section.kind, len(nodes))
    if len(set(targets)) != len(targets) or len(targets) not in possible:
        text = "must be one node" if possible.stop > 1 else "must not be given, it hurts all alike"
        yield "target", _TARGETS.get(section.kind, text)
    # Who is master may turn out to be the other one of two.
    known = [*nodes, MASTER] if possible.stop == 2 else nodes
    for target in set(targets) - set(known) if possible.stop > 1 else ():
        yield "target", f"must be of {', '.join(known)}, is {target}"
    if section.kind not in _AMOUNTS:
        if section.amount is not None:
            yield "amount", f"must not be given, {section.kind.value} has none"
    elif section.amount is None:
        yield "amount", f"must be given with {section.kind.value}, is missing"
    else:
        try:
            _AMOUNTS[section.kind].parse(section.amount)
        except ValueError as error:
            yield "amount", f"{error}, is {section.amount!r}"
