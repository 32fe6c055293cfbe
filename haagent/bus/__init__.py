"""The peer bus: what agents ask each other.  Elections and heartbeats never depend on it."""

# Before gRPC is imported, of which it says how much it writes to stderr.
import haagent.control  # noqa: F401
