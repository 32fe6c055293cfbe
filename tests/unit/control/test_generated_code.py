"""The committed code is what ``haagent.proto`` generates."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    outputs = (f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python"))
    proto = "haagent/control/haagent.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, proto]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return out / "haagent/control"


@pytest.mark.parametrize("name", ["haagent_pb2.py", "haagent_pb2.pyi", "haagent_pb2_grpc.py"])
def test_the_committed_code_is_generated_from_the_proto(name: str, generated: Path) -> None:
    """Run ``make proto`` when this fails."""
    committed = REPOSITORY / "haagent/control" / name

    assert committed.read_text() == (generated / name).read_text()
