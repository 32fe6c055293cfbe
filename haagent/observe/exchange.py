"""What the server's process and the agent say to each other, over one pair of sockets.

The server asks in lines, ``facts``, ``status`` or ``steer JSON``, and has others logged: ``info
TEXT``, ``warning TEXT``.  The agent answers a question with a header and that many bytes.  Of each
kind one question is open at a time, so an answer needs no other name than its kind.  Either ends
when the other has gone.
"""

from enum import Enum
from logging import INFO, WARNING
from struct import Struct


class Question(Enum):
    """What the server may ask for."""

    FACTS = "facts"
    """Answered with JSON of :class:`haagent.observe.facts.Facts`."""
    STATUS = "status"
    """Answered with what ``haagent status --json`` prints."""


LEVELS = {"info": INFO, "warning": WARNING}
"""What a line begins with that the agent is to log."""

STEER = "steer"
"""What a line begins with that somebody has sent who wants the agent to do something."""

LOGIN = "--login"
"""On the server's command line: there is one, and with it a way to steer."""

MAX_LINE = 16_384

HEADER = Struct("!6sI")
"""The question, padded with zeros, and how many bytes follow."""
