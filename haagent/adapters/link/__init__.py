"""The links of this host: ``frames`` tells where the virtual addresses are, on ``sockets``."""

from haagent.adapters.link.frames import SILENCE_S, LinkFrames

__all__ = ["SILENCE_S", "LinkFrames"]
