"""What pydantic found wrong, in the operator's words and at the operator's line."""

from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from haagent.config.document import Document
from haagent.config.model import Section
from haagent.config.problems import Place, Problem

_STRUCTURE = {
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
}


def explain(document: Document, error: ValidationError, model: type[Section]) -> list[Problem]:
    """Return one problem for each of ``error``'s, in a document that is to fit ``model``."""
    return [_explain(document, details, model) for details in error.errors()]


def _explain(document: Document, details: ErrorDetails, model: type[Section]) -> Problem:
    place: Place = details["loc"]
    match details["type"]:
        case "extra_forbidden":
            return document.at_key(place, _unknown(place, model))
        case "missing":
            return document.at_key(place, "must be given, is missing")
        case "value_error" if place[-1] == "[key]":
            requirement = details["ctx"]["error"]
            return document.at_key(place[:-1], f"{requirement}, is {place[-2]!r}")
        case "value_error":
            return document.wrong_value(place, str(details["ctx"]["error"]))
        case other:
            return document.wrong_value(place, _STRUCTURE.get(other, details["msg"]))


def _unknown(place: Place, model: type[Section]) -> str:
    key = str(place[-1])
    if key == "<<":
        return "merge keys are not supported, write the keys out"
    near = get_close_matches(key, _known_keys(place[:-1], model), n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"unknown key {key!r}{hint}"


def _known_keys(place: Place, model: type[Section]) -> list[str]:
    """Return the keys of the section at ``place``, found by walking the model's types."""
    kind: Any = model
    for step in place:
        if isinstance(kind, type) and issubclass(kind, Section):
            kind = _bare(kind.model_fields[str(step)].annotation)
        else:
            # dict[name, section] or tuple[section, ...]: whatever the step, a section follows.
            kind = next(arg for arg in map(_bare, get_args(kind)) if _is_section(arg))
    return [field.alias or name for name, field in kind.model_fields.items()]


def _bare(annotation: Any) -> Any:
    """Return the type without ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return _bare(next(arg for arg in get_args(annotation) if arg is not NoneType))
    return annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
