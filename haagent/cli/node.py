"""``haagent node``: what an app server runs to be found and kept in HAProxy's lists.

The file is read and judged here; then the process replaces itself by a smaller one, under the
same pid, which gets what was read on an inherited descriptor.  Run as a module with the file as
its argument, this prints the same instead: so the small process has its file read again.
"""

import os
import sys
from pathlib import Path

from haagent.cli.configuration import read_node
from haagent.config import KeyFileError, read_node_key
from haagent.node.handover import Handover, pack


def node(config: Path) -> None:
    """Send heartbeats as ``config`` says, until stopped.

    Exits with 0 when stopped, 2 when the configuration or the key cannot be used.
    """
    text = _judged(config)
    # Not inherited by default; and not a pipe, which holds less than a long list of services.
    descriptor = os.memfd_create("haagent-node", 0)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = ("-I", "-m", "haagent.node", str(descriptor), str(config.absolute()))
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606  # no shell is wanted


def _judged(config: Path) -> str:
    loaded = read_node(config)
    settings = loaded.settings
    try:
        key = read_node_key(loaded.key_file, settings.cluster, settings.node)
    except KeyFileError as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(2)
    return pack(Handover(settings, key))


if __name__ == "__main__":
    print(_judged(Path(sys.argv[1])))
