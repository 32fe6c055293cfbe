"""A laboratory for each test, and the standard cluster in it; everything is gone afterwards."""

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from haagent.lab.claims import leftovers, remove_leftovers
from haagent.lab.cluster import Cluster, build
from haagent.lab.topology import Lab

_PREFIX = "t"
_NUMBERS = count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory, so that ``-m 'not lab'`` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def _able() -> None:
    """Skip where there can be no laboratory; remove what a killed test run left."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    missing = [tool for tool in ("ip", "nft", "setpriv", "haproxy") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    for prefix in leftovers():
        if prefix.removeprefix(_PREFIX).isdigit():
            remove_leftovers(prefix)


@pytest.fixture
def prefix(_able: None) -> str:
    """A prefix that no other test of this machine uses at this time."""
    return f"{_PREFIX}{os.getpid()}{next(_NUMBERS):02}"


@pytest.fixture
def lab(prefix: str) -> Iterator[Lab]:
    """A laboratory with a switch and no host."""
    with Lab(prefix) as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    """lb1, lb2, app1, app2 and client, with everything running but haagent."""
    return build(lab)
