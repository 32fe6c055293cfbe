"""Where the agent serves metrics: what of it contradicts the rest of the file."""

from collections.abc import Iterator

from haagent.config import addresses, values
from haagent.config.document import Document
from haagent.config.problems import Problem
from haagent.config.rules import once
from haagent.core.settings import DEFAULT_PORT


def listener_contradictions(document: Document) -> Iterator[Problem]:
    """Yield what could never be listened on."""
    listeners = [*document.select("http.listen.*", addresses.listener)]
    yield from once(document, listeners)
    ports = document.select("heartbeat.port", values.whole(1, 65_535))
    heartbeats = next((port for _, port in ports), DEFAULT_PORT)
    for place, endpoint in listeners:
        if endpoint.port == heartbeats:
            text = "must have another port than the heartbeats, to which peers connect by TCP"
            yield document.wrong_value(place, text)
