"""The doctor as a process of the agent, really run: what is answered, refused and ended."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from grpc import aio

from haagent.config import new_key
from haagent.control.haagent_pb2 import DoctorReply, DoctorRequest, StatusReply
from haagent.control.haagent_pb2_grpc import AgentStub
from haagent.control.server import ControlServer
from haagent.runtime.examination import Examination
from tests.unit.control.test_control_socket import IDLE

CONF = Path(__file__).parents[3] / "conf"
PAIR = (CONF / "pair-lb1.yml").read_text().replace("eth0", "nowhere0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of which next to nothing is there: no agent, no such interface, no HAProxy."""
    key = tmp_path / "cluster.key"
    key.touch(mode=0o600)
    key.write_text(new_key())
    path = tmp_path / "haagent.yml"
    lines = [line for line in PAIR.splitlines() if not line.startswith("key_file:")]
    own = [f"key_file: {key}", f"control_socket: {tmp_path}/control.sock"]
    path.write_text("\n".join([*lines, *own]) + "\n")
    return path


def asked(file: Path, seconds: float = 1.0) -> DoctorReply:
    return asyncio.run(Examination(file).examine(DoctorRequest(seconds=seconds)))


async def visit_of(file: Path) -> psutil.Process:
    """The process that looks by ``file``, as soon as it is there."""
    async with asyncio.timeout(30):
        while True:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # Another one, which has ended since.
                    if str(file) in process.cmdline():
                        return process
            await asyncio.sleep(0.02)


def test_what_is_wrong_is_told_with_its_cure(file: Path) -> None:
    reply = asked(file)

    assert (reply.trouble, reply.node, reply.cluster, reply.seconds) == ("", "lb1", "shop", 1.0)
    assert {"agent.down", "path.closed"} <= {finding.kind for finding in reply.findings}
    assert all(finding.text and finding.cure for finding in reply.findings)
    assert [path.interface for path in reply.paths]


def test_a_file_that_cannot_be_used_is_the_reason_that_nobody_looks(file: Path) -> None:
    file.write_text("groups: [")

    reply = asked(file)

    assert reply.trouble.startswith("ended with exit code 1: ")
    assert str(file) in reply.trouble
    assert not reply.findings


@pytest.mark.parametrize("seconds", [0.0, 0.5, -1.0, 601.0, float("nan"), float("inf")])
def test_a_length_that_makes_no_sense_is_refused(file: Path, seconds: float) -> None:
    assert asked(file, seconds).trouble == "listening takes 1 to 600 s"


def test_one_looks_at_a_time_and_the_end_of_a_client_ends_it(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def story() -> tuple[DoctorReply, DoctorReply]:
        calls = replace(IDLE, doctor=Examination(file).examine)
        running = asyncio.create_task(ControlServer(path, StatusReply, calls).run())
        async with aio.insecure_channel(f"unix:{path}") as channel:
            ask = AgentStub(channel).Doctor
            first = ask(DoctorRequest(seconds=600), wait_for_ready=True)
            process = await visit_of(file)
            second = await ask(DoctorRequest(seconds=1))
            first.cancel()
            await asyncio.to_thread(process.wait, 30)
            third = second
            async with asyncio.timeout(30):
                # Until the thread has seen that, too.
                while third == second:
                    third = await ask(DoctorRequest(seconds=1))
                    await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.wait([running])
        return second, third

    second, third = asyncio.run(story())

    assert second.trouble == "another examination is under way"
    assert (third.trouble, third.node) == ("", "lb1")
