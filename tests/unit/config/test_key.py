"""The key files: what is read, and each reason why one is refused."""

import base64
import os
from pathlib import Path

import pytest

from haagent.config import KeyFileError, new_key, new_node_key, read_key, read_node_key
from haagent.core.identity import node_id
from haagent.wire.auth import derive_node_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good key file."""
    file = tmp_path / "cluster.key"
    file.write_text(new_key())
    file.chmod(0o600)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        read_key(file)
    return str(caught.value).removeprefix(f"{file}: ")


def test_a_key_file_is_a_line_of_prefix_and_base64url(file: Path) -> None:
    line = file.read_text()

    assert line.startswith("haagent-key-1:")
    assert line.endswith("\n")
    assert read_key(file) == base64.urlsafe_b64decode(line.removeprefix("haagent-key-1:"))
    assert len(read_key(file)) == 32


def test_no_two_new_keys_are_alike() -> None:
    assert len({new_key() for _ in range(100)}) == 100


def test_a_missing_key_comes_with_the_cure(tmp_path: Path) -> None:
    file = tmp_path / "none.key"

    assert refusal(file) == (
        f"does not exist; 'haagent keygen {file}' makes one, all nodes need the same"
    )


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "cannot be read: Is a directory"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_a_key_that_others_may_use_is_refused_with_the_cure(file: Path, mode: int) -> None:
    file.chmod(mode)

    assert refusal(file) == f"others may use it (mode {mode:04o}): chmod 600 {file}"


def test_a_key_that_its_owner_cannot_write_is_as_good(file: Path) -> None:
    file.chmod(0o400)

    assert len(read_key(file)) == 32


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_unreadable_key_is_refused(file: Path) -> None:
    for directory in (file.parent, *file.parent.parents[:2]):
        directory.chmod(0o755)
    os.seteuid(65534)
    try:
        assert refusal(file) == "cannot be read: Permission denied"
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a haagent key: must be one line that begins with 'haagent-key-1:'"),
        (b"secret\n", "is not a haagent key: must be one line that begins with 'haagent-key-1:'"),
        (b"haagent-key-1:????\n", "is not base64url after 'haagent-key-1:'"),
        (b"haagent-key-1:abc\n", "is not base64url after 'haagent-key-1:'"),
        (b"haagent-key-1:\n", "must hold 32 bytes of key, holds 0"),
        (b"haagent-key-1:c2hvcnQ=\n", "must hold 32 bytes of key, holds 5"),
        (b"haagent-key-1:" + b"A" * 800, "must hold 32 bytes of key, holds 600"),
    ],
)
def test_a_key_of_another_form_is_refused_with_the_reason(
    file: Path, content: bytes, reason: str
) -> None:
    file.write_bytes(content)

    assert refusal(file) == reason


def test_two_keys_in_one_file_are_refused(file: Path) -> None:
    file.write_text(new_key() + new_key())

    assert refusal(file) == "is not base64url after 'haagent-key-1:'"


def test_a_refusal_never_shows_what_the_file_holds(file: Path) -> None:
    file.write_text("haagent-key-2:topsecret\n")

    assert "topsecret" not in refusal(file)


CLUSTER_KEY = bytes(range(32))


@pytest.fixture
def node_file(tmp_path: Path) -> Path:
    """The key file of the node ``app1`` of the cluster ``shop``."""
    file = tmp_path / "node.key"
    file.write_text(new_node_key(CLUSTER_KEY, "shop", "app1"))
    file.chmod(0o600)
    return file


def node_refusal(file: Path, node: str = "app1") -> str:
    with pytest.raises(KeyFileError) as caught:
        read_node_key(file, "shop", node)
    return str(caught.value).removeprefix(f"{file}: ")


def test_the_key_file_of_a_node_says_whose_it_is(node_file: Path) -> None:
    assert node_file.read_text().startswith("haagent-node-key-1:shop:app1:")
    assert read_node_key(node_file, "shop", "app1") == derive_node_key(
        CLUSTER_KEY, "shop", node_id("app1")
    )


def test_a_cluster_key_is_refused_on_an_app_node_with_the_cure(file: Path) -> None:
    """Who copied it by mistake shall not have the node work as if nothing were wrong."""
    assert node_refusal(file) == (
        "is a cluster key, which belongs on the agents alone: remove it from this host, "
        "'haagent keygen --node' makes the key of one node from it"
    )


def test_the_key_of_a_node_is_refused_on_an_agent(node_file: Path) -> None:
    assert refusal(node_file) == "is the key of an app node: agents need the cluster key"


def test_the_key_of_another_node_or_cluster_is_refused(node_file: Path) -> None:
    """The agents would refuse what is signed with it, and could not say why."""
    assert node_refusal(node_file, "app2") == "is the key of 'shop:app1', not of 'shop:app2'"

    node_file.write_text(new_node_key(CLUSTER_KEY, "test", "app1"))
    assert node_refusal(node_file) == "is the key of 'test:app1', not of 'shop:app1'"


def test_a_node_without_a_key_is_told_where_to_get_one(tmp_path: Path) -> None:
    assert node_refusal(tmp_path / "none.key") == (
        "does not exist; 'haagent keygen --node' makes one where the cluster key is"
    )


def test_the_key_of_a_node_is_no_less_secret(node_file: Path) -> None:
    node_file.chmod(0o640)

    assert node_refusal(node_file) == f"others may use it (mode 0640): chmod 600 {node_file}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not the key of an app node: must be one line with 'haagent-node-key-1:'"),
        (b"secret", "is not the key of an app node: must be one line with 'haagent-node-key-1:'"),
        (b"haagent-node-key-1:\n", "is the key of '', not of 'shop:app1'"),
        (b"haagent-node-key-1:\xff:app1:", "is the key of '\\\\xff:app1', not of 'shop:app1'"),
        (b"haagent-node-key-1:shop:app1:", "must hold 32 bytes of key, holds 0"),
        (
            b"haagent-node-key-1:shop:app1:????",
            "is not base64url after 'haagent-node-key-1:shop:app1:'",
        ),
    ],
)
def test_a_node_key_of_another_form_is_refused_with_the_reason(
    node_file: Path, content: bytes, reason: str
) -> None:
    node_file.write_bytes(content)

    assert node_refusal(node_file) == reason


def test_a_refusal_of_a_node_key_never_shows_the_key(node_file: Path) -> None:
    secret = node_file.read_text().rpartition(":")[2].strip()

    assert secret not in node_refusal(node_file, "app2")
    node_file.write_text(f"haagent-node-key-1:{secret}\n")
    assert secret not in node_refusal(node_file)
