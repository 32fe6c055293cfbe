"""Finds what led to the newest change in a group: in memory, and where that ends on the disk.

What this module does not do: say what follows from it (``haagent.control.explanation``).
"""

import asyncio
from collections.abc import AsyncIterator

from haagent.control.explanation import CHANGES, Chain, explanation, require
from haagent.control.haagent_pb2 import ExplainReply
from haagent.core.actions import Record
from haagent.core.status import Status
from haagent.core.units import Moment
from haagent.runtime.history import History

LONGEST_S = 1.0
"""How long the disk is waited for: what is known without it is told all the same."""


async def explain(group: str, status: Status, now: Moment, history: History) -> ExplainReply:
    """Return who is master of ``group`` and why.

    Raises: UnknownGroupError.
    """
    require(group, status)
    return explanation(group, status, now, await _chain(group, status, history))


async def _chain(group: str, status: Status, history: History) -> Chain:
    records: list[Record] = []
    trouble = ""
    try:
        async with asyncio.timeout(LONGEST_S):
            async for record in _back(group, status, history):
                records.append(record)  # noqa: PERF401 - what is found before a trouble counts
    except TimeoutError:
        trouble = "the disk does not answer"
    except OSError as error:
        trouble = str(error)
    lost = records[-1].cause if records else None
    return Chain(records=tuple(records), lost=lost, trouble=trouble)


async def _back(group: str, status: Status, history: History) -> AsyncIterator[Record]:
    """Yield the newest change, and after each its cause, as far as they are kept.

    Raises: OSError.
    """
    kept = {record.number: record for record in status.records}
    changes = [r for r in status.records if r.group == group and r.kind in CHANGES]
    record = changes[-1] if changes else await history.newest(group, CHANGES)
    while record is not None:
        yield record
        cause = record.cause
        # What led to a record was recorded before it, so this comes to an end.
        if cause is None or cause >= record.number:
            return
        record = kept.get(cause) or await history.numbered(cause)
