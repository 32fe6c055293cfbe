"""What the agent records, as it is written to the log."""

import logging

import pytest

from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.runtime import log


def test_what_a_decision_stands_on_is_written_below_it(caplog: pytest.LogCaptureFixture) -> None:
    log.write(
        Record(
            number=7,
            stamp=Stamp(Hlc(5, 1), 9),
            severity=Severity.WARNING,
            kind="peer.dead",
            text="lb1 has been silent for 365 ms",
            group=None,
            term=None,
            evidence=("last heard 365 ms ago on eth0", "its host: no answer"),
        )
    )

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "lb1 has been silent for 365 ms [peer.dead lamport=9 hlc=5.1]",
        ),
        (logging.WARNING, "    last heard 365 ms ago on eth0"),
        (logging.WARNING, "    its host: no answer"),
    ]
