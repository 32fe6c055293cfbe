"""``haagent run``: the daemon."""

import asyncio
import os
import sys
from pathlib import Path

from haagent.adapters.state_file import AlreadyRunning
from haagent.cli.configuration import read
from haagent.config import KeyFileError, Loaded
from haagent.runtime import log
from haagent.runtime.wiring import Daemon


def run(config: Path) -> None:
    """Run the agent until a signal stops it.

    Exits with 0 when stopped, 1 when it cannot work (the reason on stderr), 2 when the
    configuration or the key file cannot be used.
    """
    loaded = read(config)
    listener = log.start(os.environ)
    try:
        asyncio.run(_serve(config, loaded))
    except KeyFileError as error:
        _end(2, error)
    except (AlreadyRunning, OSError) as error:
        _end(1, error)
    except ExceptionGroup as group:
        # What an adapter cannot do without; anything but an OSError is a bug and shows itself.
        failures, bugs = group.split(OSError)
        if failures is None or bugs is not None:
            raise
        _end(1, *failures.exceptions)
    finally:
        listener.stop()


async def _serve(config: Path, loaded: Loaded) -> None:
    await Daemon(config, loaded).run()


def _end(code: int, *reasons: Exception) -> None:
    for reason in reasons:
        print(f"haagent: {reason}", file=sys.stderr)
    sys.exit(code)
