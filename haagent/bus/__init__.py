"""The peer bus: what agents ask each other.  Elections and heartbeats never depend on it."""
