"""The key file: what is read, and each reason why one is refused."""

import base64
import os
from pathlib import Path

import pytest

from haagent.config import KeyFileError, new_key, read_key


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
