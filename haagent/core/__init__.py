"""The pure core: events in, actions out; no clock, no socket, no chance of its own."""
