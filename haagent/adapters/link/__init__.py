"""The links of this host: ``frames`` tells where virtual addresses are, ``hosts`` who is there.

Both stand on ``sockets``.
"""

from haagent.adapters.link.frames import SILENCE_S, LinkFrames
from haagent.adapters.link.hosts import ANSWERED_WITHIN_S, Hosts

__all__ = ["ANSWERED_WITHIN_S", "SILENCE_S", "Hosts", "LinkFrames"]
