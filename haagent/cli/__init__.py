"""The command line: one small module per command, put together in ``haagent.cli.main``."""
