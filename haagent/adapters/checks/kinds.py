"""One check of whatever kind, made once."""

from typing import assert_never

from haagent.adapters.checks import local, network
from haagent.adapters.checks.result import Result
from haagent.core.checks import (
    CommandCheck,
    FileCheck,
    HAProxyCheck,
    HTTPCheck,
    PidfileCheck,
    PingCheck,
    ProcessCheck,
    TCPCheck,
    What,
)


def perform(what: What, timeout_s: float) -> Result:
    """Make the check, and return within ``timeout_s`` but for what the kernel holds up.

    The modules that few need are imported by the first who does: an app node has no HAProxy.
    """
    match what:
        case TCPCheck(address, port):
            return network.tcp(str(address), port, timeout_s)
        case HTTPCheck():
            return network.http(
                what.url, timeout_s, status=what.status, host=what.host, verify=what.verify
            )
        case FileCheck(path):
            return local.file(path)
        case ProcessCheck(name):
            return local.process(name)
        case PidfileCheck(path):
            return local.pidfile(path)
        case PingCheck(address):
            from haagent.adapters.checks.ping import ping  # noqa: PLC0415

            return ping(address, timeout_s)
        case HAProxyCheck(socket):
            from haagent.adapters.checks.haproxy import haproxy  # noqa: PLC0415

            return haproxy(socket, timeout_s)
        case CommandCheck(argv, user):
            from haagent.adapters.checks.command import command  # noqa: PLC0415

            return command(argv, timeout_s, user)
        case _:
            assert_never(what)
