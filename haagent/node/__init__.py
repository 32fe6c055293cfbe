"""``haagent node`` as it runs on an app server: heartbeats, and checks of its own services.

``python -I -m haagent.node DESCRIPTOR FILE`` takes its settings, which ``haagent.cli.node`` has
read from FILE and validated, from an open descriptor: the running process holds neither YAML nor
pydantic nor asyncio, and is small for that (ADR 0024).

What this package does not do: decide when a heartbeat is sent (``haagent.core.appnode.sender``).
"""
