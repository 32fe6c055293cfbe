"""Posts one text to a web address: a process of its own, so that a time limit holds for all of it.

``python -m haagent.adapters.webhook`` reads ``{"url": ..., "body": ...}`` from its input and ends
with 0 if the answer is 2xx.  No redirect is followed and no proxy asked.  Neither a name server
that is silent nor the work of TLS costs the agent anything.

What this module does not do: end by itself in time (``programs``), or try again (``hooks``).
"""

import json
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit


def post(url: str, body: str) -> tuple[bool, str]:
    """Return whether the server at ``url`` has taken ``body``, and what it said."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": "application/json", "User-Agent": "haagent", "Connection": "close"}
    try:
        connection.request("POST", target, body.encode(), headers)
        answer = connection.getresponse()
    except (OSError, HTTPException, ValueError) as error:
        return False, f"{parts.hostname}: {error}"
    finally:
        connection.close()
    return 200 <= answer.status < 300, f"{answer.status} {answer.reason}"


def main() -> int:
    """Post what the input says; return the exit code."""
    asked = json.load(sys.stdin)
    ok, text = post(asked["url"], asked["body"])
    sys.stdout.write(f"{text}\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
