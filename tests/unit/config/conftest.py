"""A configuration file from text, and what :func:`haagent.config.load` says of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.config import ConfigurationError, load

Complain = Callable[[str], list[str]]


@pytest.fixture
def complaints(tmp_path: Path) -> Complain:
    """Return the lines of the error for a file of this text, without the name of the file."""

    def complaints(text: str) -> list[str]:
        file = tmp_path / "haagent.yml"
        file.write_text(text, encoding="utf-8")
        try:
            load(file)
        except ConfigurationError as error:
            return [line.removeprefix(f"{file}:") for line in str(error).splitlines()]
        return []

    return complaints
