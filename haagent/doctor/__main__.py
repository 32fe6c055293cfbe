"""``python -m haagent.doctor FILE SECONDS``: the doctor as a process of the agent.

Its last line is a ``DoctorReply``, in base64.  Exit code 1, and a line, say why there is none.
"""

import base64
import sys
from pathlib import Path

from haagent.config import ConfigurationError, load
from haagent.doctor.gather import gather
from haagent.doctor.report import report


def main() -> None:
    """Look, and tell."""
    file, seconds = sys.argv[1], float(sys.argv[2])
    try:
        loaded = load(Path(file))
    except ConfigurationError as error:
        sys.exit(str(error))
    told = report(gather(loaded, seconds), seconds).SerializeToString()
    sys.stdout.write(f"\n{base64.b64encode(told).decode()}\n")


if __name__ == "__main__":
    main()
