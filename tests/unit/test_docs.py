"""The documentation against the code: keys, kinds of records, links and examples."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from haagent.config import ConfigurationError, is_of_a_node, load, load_node
from haagent.config.model import BeforeClaimSection, File, HookSection, Section
from haagent.core.kinds import KINDS
from haagent.core.messages import DiscardReason
from haagent.sim.faults import Kind

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "vagrant/**/*.md") for page in ROOT.glob(pattern)
)
OPERATIONS = (ROOT / "docs/operations.md").read_text()

_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_KIND = re.compile(r'"([a-z]+\.[a-z]+)"')


_SHAPES: dict[type[Section], str] = {HookSection: "HOOK", BeforeClaimSection: "HOOK"}
"""What stands in several places of the file, and is documented in one."""


def keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield every key below ``section``: ``heartbeat.paths[].interface``."""
    for attribute, field in section.model_fields.items():
        name = field.alias or attribute
        yield f"{prefix}{name}"
        for step, inner in sections(field.annotation):
            yield from keys(inner, f"{_SHAPES.get(inner, f'{prefix}{name}{step}')}.")


def sections(kind: Any) -> Iterator[tuple[str, type[Section]]]:
    """Yield the sections that a value of type ``kind`` holds, and the way to them."""
    if isinstance(kind, type) and issubclass(kind, Section):
        yield "", kind
    step = {tuple: "[]", dict: ".NAME"}.get(get_origin(kind), "")
    for argument in get_args(kind):
        for inner, section in sections(argument):
            yield f"{step}{inner}", section


def configurations() -> Iterator[str]:
    """Yield every YAML block that is a whole configuration."""
    for page in PAGES:
        for block in _YAML.findall(page.read_text()):
            if re.search(r"^cluster:", block, re.MULTILINE):
                yield block


def anchors(page: Path) -> set[str]:
    """Return what a link may point to in ``page``, as GitHub makes it from the headings."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("key", sorted(set(keys(File))))
def test_every_key_of_the_file_is_documented(key: str) -> None:
    assert f"| `{key}` |" in (ROOT / "docs/configuration.md").read_text()


def test_no_key_is_documented_that_the_file_does_not_have() -> None:
    text = (ROOT / "docs/configuration.md").read_text()

    assert set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) == set(keys(File))


def test_every_kind_of_fault_is_explained_and_no_other() -> None:
    table = OPERATIONS.partition("| kinds | hit | amount |")[2].partition("\n\n")[0]
    kinds = [row.split("|")[1] for row in table.splitlines()[2:]]

    assert sorted(re.findall(r"`([a-z-]+)`", "".join(kinds))) == sorted(kind.value for kind in Kind)


def test_every_kind_of_record_and_alarm_is_explained_and_no_other() -> None:
    files = (ROOT / "haagent/core").rglob("*.py")
    core = "".join(path.read_text() for path in files if path.name != "kinds.py")
    made = set(_KIND.findall(core))

    assert set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", OPERATIONS, re.MULTILINE)) == made
    assert set(KINDS) == made


def test_every_finding_of_the_doctor_is_explained_and_no_other() -> None:
    found = "".join(path.read_text() for path in (ROOT / "haagent/doctor").glob("*.py"))
    made = set(re.findall(r'(?:error|warning|notice|finding|\))\(\s*"([a-z0-9]+\.[a-z]+)"', found))
    table = (ROOT / "docs/doctor.md").read_text()

    assert set(re.findall(r"^\| `([a-z0-9]+\.[a-z]+)` \|", table, re.MULTILINE)) == made


@pytest.mark.parametrize("reason", DiscardReason)
def test_every_reason_for_a_discard_is_explained(reason: DiscardReason) -> None:
    assert f"`{reason.name.lower()}`" in OPERATIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](page.md#one) [b](gone.md) [c](#two) [d](https://example.org)\n")

    assert broken_links(page) == ["gone.md", "#two"]


@pytest.mark.parametrize("text", list(configurations()))
def test_every_whole_configuration_in_the_documentation_is_accepted(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "haagent.yml"
    file.write_text(text)

    try:
        load_node(file) if is_of_a_node(file) else load(file)
    except ConfigurationError as error:
        pytest.fail(str(error))
