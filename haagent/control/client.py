"""The command line's end of the control socket: synchronous, one question at a time.

What this module does not do: lay an answer out (``haagent.cli``), or serve who has a loop of its
own (``live``).
"""

import os
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from haagent.control import haagent_pb2 as pb, haagent_pb2_grpc as pb_grpc


class AgentUnreachable(Exception):  # noqa: N818 - a condition of the world, not a mistake
    """No agent answers; the text says why and names the socket."""


class UnknownGroup(Exception):  # noqa: N818 - a condition of the world, not a mistake
    """The agent has no such group; the text names those that it has."""


def fetch_status(socket_path: Path, timeout_s: float) -> pb.StatusReply:
    """Return the status of the agent that listens on ``socket_path``.

    Raises: AgentUnreachable, at the latest after ``timeout_s``.
    """
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.StatusReply = stub.Status(pb.StatusRequest(), timeout=timeout_s)
        return reply


def fetch_explanation(socket_path: Path, timeout_s: float, group: str) -> pb.ExplainReply:
    """Return who is master of ``group``, why, and why not another.

    Raises: UnknownGroup; AgentUnreachable, at the latest after ``timeout_s``.
    """
    with _stub(socket_path, timeout_s) as stub:
        try:
            reply: pb.ExplainReply = stub.Explain(pb.ExplainRequest(group=group), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise UnknownGroup(error.details()) from error
            raise
        return reply


def reload(socket_path: Path, timeout_s: float, request: pb.ReloadRequest) -> pb.ReloadReply:
    """Have the agent take in its configuration file, or rehearse that; return how that went.

    Raises: AgentUnreachable, at the latest after ``timeout_s``; the reload may go on.
    """
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.ReloadReply = stub.Reload(request, timeout=timeout_s)
        return reply


def drain(socket_path: Path, timeout_s: float, request: pb.DrainRequest) -> pb.SteerReply:
    """Drain the agent; return how that went.

    Raises: AgentUnreachable, at the latest after ``timeout_s``; it may happen all the same.
    """
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.SteerReply = stub.Drain(request, timeout=timeout_s)
        return reply


def undrain(socket_path: Path, timeout_s: float, request: pb.UndrainRequest) -> pb.SteerReply:
    """End a drain of the agent, as :func:`drain` begins it."""
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.SteerReply = stub.Undrain(request, timeout=timeout_s)
        return reply


def pause(socket_path: Path, timeout_s: float, request: pb.PauseRequest) -> pb.SteerReply:
    """Pause the agent, as :func:`drain` drains it."""
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.SteerReply = stub.Pause(request, timeout=timeout_s)
        return reply


def resume(socket_path: Path, timeout_s: float, request: pb.ResumeRequest) -> pb.SteerReply:
    """End a pause of the agent, as :func:`drain` drains it."""
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.SteerReply = stub.Resume(request, timeout=timeout_s)
        return reply


def fail_over(socket_path: Path, timeout_s: float, request: pb.FailoverRequest) -> pb.FailoverReply:
    """Have the agent begin to hand a group over; return whether it has.

    Raises: AgentUnreachable, at the latest after ``timeout_s``; it may happen all the same.
    """
    with _stub(socket_path, timeout_s) as stub:
        reply: pb.FailoverReply = stub.Failover(request, timeout=timeout_s)
        return reply


def seen(status: pb.StatusReply, group: str | None = None) -> list[pb.Seen]:
    """Return what a request about ``group``, or all of them, is to carry of ``status``."""
    roles = (each.role for each in status.groups)
    return [
        pb.Seen(group=role.group, term=role.term) for role in roles if group in {None, role.group}
    ]


def fetch_haproxy(socket_path: Path, timeout_s: float) -> pb.HaproxyReply:
    """Return every server of the agent's HAProxy beside what is wanted, all parts as one.

    Raises: AgentUnreachable, at the latest after ``timeout_s``.
    """
    whole = pb.HaproxyReply()
    with _stub(socket_path, timeout_s) as stub:
        for part in stub.Haproxy(pb.HaproxyRequest(), timeout=timeout_s):
            whole.MergeFrom(part)
    return whole


def examine(socket_path: Path, timeout_s: float, seconds: float) -> pb.DoctorReply:
    """Have the agent look for ``seconds`` for what is wrong; return what it has found.

    Raises: AgentUnreachable when it has not told ``timeout_s`` later.
    """
    with _stub(socket_path, timeout_s) as stub:
        request = pb.DoctorRequest(seconds=seconds)
        reply: pb.DoctorReply = stub.Doctor(request, timeout=seconds + timeout_s)
        return reply


def fetch_events(
    socket_path: Path, timeout_s: float, request: pb.EventsRequest
) -> Generator[pb.EventsReply]:
    """Yield the parts of what the agent has recorded; with ``follow`` they do not end.

    Raises: AgentUnreachable when ``timeout_s`` pass without a part, or, of those that do not
    end, the agent ends.
    """
    with _stub(socket_path, timeout_s) as stub:
        call = stub.Events(request)
        try:
            while True:
                with _cancelled_after(timeout_s, call):
                    reply: pb.EventsReply | None = next(call, None)
                if reply is None:
                    break
                yield reply
        finally:
            call.cancel()
    if request.follow:
        message = f"{socket_path}: the agent has ended"
        raise AgentUnreachable(message)


def watch(socket_path: Path, timeout_s: float) -> Generator[pb.StatusReply]:
    """Yield the status now and after every change, and at least once a second.

    Raises: AgentUnreachable when ``timeout_s`` pass without a reply, or the agent ends.
    """
    with _stub(socket_path, timeout_s) as stub:
        call = stub.Watch(pb.WatchRequest())
        try:
            while True:
                with _cancelled_after(timeout_s, call):
                    reply: pb.StatusReply | None = next(call, None)
                if reply is None:
                    message = f"{socket_path}: the agent has ended"
                    raise AgentUnreachable(message)
                yield reply
        finally:
            call.cancel()


@contextmanager
def _cancelled_after(timeout_s: float, call: grpc.Call) -> Iterator[None]:
    # A stream has a deadline as a whole, but none for one reply.
    timer = threading.Timer(timeout_s, call.cancel)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _stub(socket_path: Path, timeout_s: float) -> Iterator[pb_grpc.AgentStub]:
    _require_listener(socket_path, timeout_s)
    with grpc.insecure_channel(f"unix:{socket_path}") as channel:
        try:
            yield pb_grpc.AgentStub(channel)
        except grpc.RpcError as error:
            raise no_answer(socket_path, error, timeout_s) from error


def _require_listener(socket_path: Path, timeout_s: float) -> None:
    # The kernel says why a connection fails; gRPC would only say "unavailable".
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout_s)
            probe.connect(os.fspath(socket_path))
    except OSError as error:
        raise no_connection(socket_path, error) from None


def no_connection(socket_path: Path, error: OSError) -> AgentUnreachable:
    """Return what it means that ``socket_path`` cannot be connected to."""
    match error:
        case FileNotFoundError():
            reason = "there is no such socket: is the agent running?"
        case PermissionError():
            reason = "permission denied: be root or in the group of the agent (haagent)"
        case ConnectionRefusedError():
            reason = "the agent that made this socket is gone"
        case _:
            reason = str(error)
    return AgentUnreachable(f"{socket_path}: {reason}")


def no_answer(socket_path: Path, error: grpc.RpcError, timeout_s: float) -> AgentUnreachable:
    """Return what it means that a call on ``socket_path`` has failed."""
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            reason = f"no answer within {timeout_s:g} s"
        case grpc.StatusCode.UNAVAILABLE:
            reason = "the agent closed the connection: it has ended, or has too many"
        case code:
            reason = f"{code.name.lower()}: {error.details()}"
    return AgentUnreachable(f"{socket_path}: {reason}")
