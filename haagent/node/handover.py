"""What the process that read the file tells the one that runs, as one line of JSON."""

import json
from dataclasses import asdict, dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Any

from haagent.core.appnode.settings import NodePathSettings, NodeSettings, ServiceSettings
from haagent.core.checks import (
    CheckSettings,
    CommandCheck,
    Consequence,
    HTTPCheck,
    TCPCheck,
    What,
)


@dataclass(frozen=True, slots=True)
class Handover:
    """All that a running node knows."""

    settings: NodeSettings
    key: bytes
    """The node's own."""


def pack(handover: Handover) -> str:
    """Return ``handover`` as text, which holds a secret."""
    return json.dumps(asdict(handover), default=_plain)


def unpack(text: str) -> Handover:
    """Return what :func:`pack` made ``text`` of.

    Raises: ValueError, KeyError or TypeError when it was made by another version.
    """
    data = json.loads(text)
    settings = data["settings"]
    address = settings["address"]
    read = {
        "paths": tuple(map(_path, settings["paths"])),
        "services": tuple(map(_service, settings["services"])),
        "address": ip_address(address) if address else None,
    }
    return Handover(NodeSettings(**settings | read), bytes.fromhex(data["key"]))


def _plain(value: object) -> str:
    match value:
        case bytes():
            return value.hex()
        case Enum():
            return str(value.value)
        case _:
            return str(value)


def _path(data: dict[str, Any]) -> NodePathSettings:
    agents = tuple(map(ip_address, data["agents"]))
    return NodePathSettings(**data | {"group": ip_address(data["group"]), "agents": agents})


def _service(data: dict[str, Any]) -> ServiceSettings:
    check = data["check"]
    return ServiceSettings(**data | {"check": _check(check) if check else None})


def _check(data: dict[str, Any]) -> CheckSettings:
    read = {"what": _what(data["what"]), "on_fail": Consequence(data["on_fail"])}
    return CheckSettings(**data | read)


def _what(data: dict[str, Any]) -> What:
    """Return the check whose fields are these, of the kinds that a node has."""
    match data:
        case {"address": address, "port": port}:
            return TCPCheck(ip_address(address), port)
        case {"url": _, "status": status}:
            return HTTPCheck(**data | {"status": tuple(status)})
        case {"argv": argv, "user": user}:
            return CommandCheck(tuple(argv), user)
        case _:
            raise KeyError("what")
