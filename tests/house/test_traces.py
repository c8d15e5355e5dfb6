"""A file says nothing of the machine it was written on: it must mean the same on the reader's."""

import re
from collections.abc import Iterator

from tests.house.source import ROOT, refuse, written_files

TRACES = {
    "a home directory": re.compile(r"(?<![\w.~/-])/(?:root|home/\w+|Users/\w+|work)/"),
    "the host of a package registry (an installation follows the reader's own settings)": re.compile(
        r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org)\b"
    ),
    "an unfinished thought": re.compile(r"\b(?:FIXME|XXX|HACK)\b"),
    "a tool's signature": re.compile(r"(?i)\b(?:co-authored-by|generated (?:with|by) \[)"),
}


def traces(text: str) -> Iterator[str]:
    """Give what in a text belongs to its writer alone."""
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in TRACES.items():
            if match := pattern.search(line):
                yield f"{number}: {match[0]!r} is {what}"


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    others = [path for path in written_files() if path.name != "test_traces.py"]
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8", errors="replace") for path in others}
    refuse(f"{path}:{trace}" for path, text in texts.items() for trace in traces(text))


def test_traces_are_noticed() -> None:
    assert list(traces("see /root/notes"))
    assert list(traces('open("/home/ann/x")'))
    assert list(traces("pip install --index-url https://pypi.org/simple"))
    assert list(traces("Co-Authored-By: someone"))
    assert list(traces("GET /v1/work/items and src/work/x and https://example.org/home/ann/")) == []
