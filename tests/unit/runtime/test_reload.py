"""What of a file a running agent cannot follow."""

from dataclasses import replace
from pathlib import Path

import pytest

from haagent.config import load
from haagent.runtime.reload import takes_restart

LOADED = load(Path(__file__).parents[3] / "conf/pair-lb1.yml")


@pytest.mark.parametrize("port", [None, 6944])
def test_the_peer_bus_is_where_it_was_at_the_start(port: int | None) -> None:
    assert takes_restart(LOADED, replace(LOADED, bus_port=port)) == ["bus"]
    assert takes_restart(LOADED, LOADED) == []
