"""The daemon: one asyncio loop between the pure core and the adapters."""
