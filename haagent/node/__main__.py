"""``python -I -m haagent.node DESCRIPTOR FILE``, as ``haagent node`` goes on."""

import os
import sys

from haagent.node.daemon import Daemon
from haagent.node.handover import unpack


def main() -> None:
    """Take the settings from the descriptor, which is closed, and run."""
    if len(sys.argv) != 3 or not sys.argv[1].isdecimal():
        sys.exit("this is the second half of 'haagent node -c FILE': start that")
    with os.fdopen(int(sys.argv[1]), encoding="ascii") as stream:
        handover = unpack(stream.read())
    Daemon(handover, sys.argv[2]).run()


if __name__ == "__main__":
    main()
