"""Answers the server's process: freezes in the loop what it asks for, and renders in a thread.

What this module does not do: start that process (``haagent.observe.child``).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from haagent.adapters import clock
from haagent.adapters.fence import Fence
from haagent.control.plain import as_json
from haagent.control.reply import RuntimeFacts, status_reply
from haagent.core.status import Status
from haagent.core.units import DurationNs, Moment
from haagent.observe.child import Freeze
from haagent.observe.collect import Surroundings, facts_of
from haagent.observe.exchange import Question
from haagent.observe.facts import encode
from haagent.runtime.driver import Lateness
from haagent.runtime.telemetry import Telemetry, lateness_facts


def answers(
    *,
    status: Callable[[], Status],
    runtime: Callable[[], RuntimeFacts],
    interval: DurationNs,
    fence: Fence,
    lateness: Lateness,
    telemetry: Telemetry,
) -> Mapping[Question, Freeze]:
    """Return how each question is answered."""

    def freeze() -> RuntimeFacts:
        # What is counted on while the thread is at work must not change under it.
        facts = runtime()
        return replace(facts, discards=dict(facts.discards))

    def freeze_facts() -> Callable[[], bytes]:
        now, seen, frozen = clock.now(), status(), freeze()
        around = partial(
            Surroundings,
            version=frozen.version,
            interval=interval,
            fence=frozen.fence,
            open_addresses=fence.opened(now.mono),
            datagrams=telemetry.datagrams(),
            discards=frozen.discards,
            lateness=lateness_facts(lateness),
            configuration=telemetry.configuration,
            traffic=frozen.traffic,
        )
        # What the kernel knows of the process is read in the thread.
        return lambda: encode(facts_of(seen, now, around(process=telemetry.process())))

    def freeze_status() -> Callable[[], bytes]:
        now, seen, frozen = clock.now(), status(), freeze()
        return partial(_render, seen, now, frozen)

    return {Question.FACTS: freeze_facts, Question.STATUS: freeze_status}


def _render(status: Status, now: Moment, facts: RuntimeFacts) -> bytes:
    """Return what ``haagent status --json`` prints."""
    return f"{as_json(status_reply(status, now, facts))}\n".encode()
