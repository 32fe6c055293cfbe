"""Whatever stands in the file, the operator gets problems, not a traceback."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from haagent.config import ConfigurationError, load

CONF = Path(__file__).parents[3] / "conf"
FULL = (CONF / "haagent.yml").read_text()

_TOKENS = [*"{}[]:,-#&*!|>'\"%@`?\t\n ~=<.0189aé\\", ": ", "- ", "\n  ", "---\n", "...\n", "<<"]
_WORDS = ["node", "groups", "web", "heartbeat", "paths", "peers", "haproxy", "backends", "servers"]
_SCALARS = ["no", "0x_", "1:30", "2026-99-99", "!!int x", "!!set", "*a", "&a", "\\ud800", "1e9"]
yaml_like = st.lists(st.sampled_from(_TOKENS + _WORDS + _SCALARS), max_size=60).map("".join)


@st.composite
def spoilt_example(draw: st.DrawFn) -> str:
    """Return the full example with a few stretches replaced."""
    text = FULL
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 30))
        text = text[:start] + draw(yaml_like | st.text(max_size=8)) + text[start + length :]
    return text


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "haagent.yml"


def hold(file: Path, content: bytes) -> None:
    """Load ``content``; hold every problem to be one line that points into the file."""
    file.write_bytes(content)
    refusal = None
    try:
        load(file)
    except ConfigurationError as error:
        refusal = error
    if refusal:
        assert 1 <= len(refusal.problems) == len(str(refusal).splitlines())
        assert all(problem.line >= 1 and problem.column >= 1 for problem in refusal.problems)


@given(content=st.binary(max_size=200))
def test_no_bytes_make_load_raise_anything_else(file: Path, content: bytes) -> None:
    hold(file, content)


@settings(max_examples=300, deadline=None)
@given(text=yaml_like | st.text())
@example(text="%YAML 1." + "9" * 5000 + "\n--- a")
@example(text="? [a]\n: b\n? {c: d}\n: e")
@example(text="groups: &a {*a : *a}")
@example(text="!!binary a")
@example(text="\x85\u2028a: 'b")
@example(text="node: " + "9" * 5000)
@example(text='"a\\nb": 1\n"a\\nb": 2')
def test_no_text_makes_load_raise_anything_else(file: Path, text: str) -> None:
    hold(file, text.encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(text=spoilt_example())
def test_no_slip_in_a_real_file_makes_load_raise_anything_else(file: Path, text: str) -> None:
    hold(file, text.encode("utf-8", "surrogatepass"))
