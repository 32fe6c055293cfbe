"""Where the agent listens on TCP: what of it contradicts the rest of the file."""

from collections.abc import Iterator
from itertools import chain

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.model import BUS_PORT
from haagent.config.problems import Problem
from haagent.config.rules import once
from haagent.core.settings import DEFAULT_PORT

_BUS = "the peer bus"
_HEARTBEATS = "the heartbeats, to which peers connect by TCP"


def listener_contradictions(document: Document) -> Iterator[Problem]:
    """Yield what could never be listened on."""
    listeners = [*document.select("http.listen.*", addresses.listener)]
    yield from once(document, listeners)
    heartbeats, bus = _port(document, "heartbeat", DEFAULT_PORT), _port(document, "bus", BUS_PORT)
    if not all(enabled for _, enabled in document.select("bus.enabled", values.truth)):
        bus = 0
    uses = {bus: _BUS, heartbeats: _HEARTBEATS}
    for place, endpoint in listeners:
        if endpoint.port in uses:
            text = f"must have another port than {uses[endpoint.port]}"
            yield document.wrong_value(place, text)
    if bus == heartbeats:
        # The defaults differ, so at least one of them is written.
        places = chain(document.find("bus.port"), document.find("heartbeat.port"))
        place, _ = next(places)
        other = _HEARTBEATS if place[0] == "bus" else _BUS
        yield document.wrong_value(place, f"must have another port than {other}")


def _port(document: Document, section: str, default: int) -> int:
    ports = document.select(f"{section}.port", values.whole(1, 65_535))
    return next((port for _, port in ports), default)
