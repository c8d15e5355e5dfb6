"""The documents hold together: links lead somewhere, decisions are numbered, the changelog is kept, examples are run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import ROOT, refuse, written_files

CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
RECORD = re.compile(r"^(\d{4})-[a-z0-9]+(?:-[a-z0-9]+)*\.md$")
RECORD_HEADINGS = ("Context", "Decision", "Consequences", "Options rejected")


def anchors(text: str) -> set[str]:
    """Give the anchors that headings make, as the usual hosts make them."""
    without_code = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", heading) for heading in HEADING.findall(without_code))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken_links(path: Path) -> Iterator[str]:
    """Give the relative links of a document that lead nowhere."""
    text = path.read_text(encoding="utf-8")
    for match in LINK.finditer(CODE.sub("", text)):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        if not place.exists():
            yield f"{path.name}: {target} does not exist"
        elif anchor and place.suffix == ".md" and anchor not in anchors(place.read_text(encoding="utf-8")):
            yield f"{path.name}: {target} has no such heading"


def badly_numbered(names: list[str]) -> Iterator[str]:
    """Give the decision records that break the row 0001, 0002, …"""
    for expected, name in enumerate(sorted(names), start=1):
        match = RECORD.match(name)
        if match is None:
            yield f"{name}: a record is named NNNN-some-words.md"
        elif int(match[1]) != expected:
            yield f"{name}: expected number {expected:04}"


def test_every_relative_link_leads_somewhere() -> None:
    documents = [path for path in written_files() if path.suffix == ".md"]
    refuse(complaint for path in documents for complaint in broken_links(path))


def test_broken_links_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `good` heading!\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md) [b](there.md#a-good-heading) [c](https://example.org/x) `[d](no.md)`\n```\n[e](no.md)\n```\n")
    assert list(broken_links(page)) == []
    page.write_text("[a](gone.md) [b](there.md#bad) [c](#bad)\n\n[d]: gone.md\n")
    assert len(list(broken_links(page))) == 4


def test_decisions_are_numbered_without_gaps() -> None:
    refuse(badly_numbered([path.name for path in (ROOT / "docs" / "decisions").glob("*.md")]))
    assert list(badly_numbered(["0001-a.md", "0003-b.md"])) == ["0003-b.md: expected number 0002"]
    assert list(badly_numbered(["0001-a.md", "0001-b.md"])) != []
    assert list(badly_numbered(["1-a.md"])) != []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.name)
def test_a_decision_gives_context_consequences_and_the_options_rejected(path: Path) -> None:
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    assert [heading for heading in RECORD_HEADINGS if heading not in headings] == []


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_example_is_run_by_a_test() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    runs_all = re.search(r"examples[\"')/ ]+.*r?glob\(", tests) is not None
    examples = sorted((ROOT / "examples").glob("*.py"))
    refuse(path.name for path in examples if not runs_all and path.stem not in tests)
