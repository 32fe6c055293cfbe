"""``haagent version``: which haagent this is, and on what it runs."""

import platform
from importlib.metadata import version as installed


def version() -> None:
    """Print one line."""
    print(f"haagent {installed('haagent')} (Python {platform.python_version()})")
