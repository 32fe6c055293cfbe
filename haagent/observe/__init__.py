"""Metrics and health over HTTP, served by a process of their own beside the agent.

``child`` belongs to the agent: it starts the process and answers its questions.  Everything else
but ``facts`` and ``collect`` runs in that process, which alone imports aiohttp and
prometheus-client.  ADR 0030 says why it is a process.
"""
