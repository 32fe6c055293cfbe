"""What HAProxy counts of its servers, read from ``show stat``."""

from haagent.core.status import Traffic
from haagent.wire.haproxy.tables import statistics

_COLUMNS = ("svname", "status", "scur", "rate", "stot", "bin", "bout")


def read_traffic(answer: str) -> dict[str, Traffic]:
    """Return what is told of the servers of one backend.

    Empty when the answer is no such table; without a server whose numbers are none.
    """
    found: dict[str, Traffic] = {}
    for name, status, *numbers in statistics(answer, _COLUMNS):
        if not all(map(str.isdecimal, numbers)):
            continue
        sessions, per_s, total, bytes_in, bytes_out = map(int, numbers)
        found[name] = Traffic(
            status=status,
            sessions=sessions,
            sessions_per_s=per_s,
            sessions_total=total,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )
    return found
