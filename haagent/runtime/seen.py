"""Whether what the caller saw before he asked is still so.

What he wants is for the master that he saw.  Each mastership has a term of its own, so a term
that has risen tells that another one has begun, or the same one anew.
"""

from collections.abc import Iterable, Iterator

from haagent.control.haagent_pb2 import Seen
from haagent.core.status import Status


def outdated(status: Status, seen: Iterable[Seen]) -> Iterator[str]:
    """Yield, for each group whose term has risen since it was ``seen``, what is so now."""
    roles = {group.role.group: group.role for group in status.groups}
    for each in seen:
        role = roles.get(each.group)
        if role is not None and role.term > each.term:
            now = f"{role.master} is master" if role.master else "it has no master"
            yield f"{each.group} has changed since you looked: {now}, in term {role.term}"
