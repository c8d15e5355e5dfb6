"""Prints the rows of the mission that no test names with ``@pytest.mark.covers``, and the names that are no row.

The mission is a Markdown file whose tables start each row with its id; ``MISSION`` says where it is. Without one there is nothing to
compare, which is no failure.
"""

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\|\s*([A-Z]\d+)\s*\|\s*(.*?)\s*\|", re.MULTILINE)


def rows_of(mission: str) -> dict[str, str]:
    """Give the first sentence of each row under its id."""
    return {row: re.sub(r"[*`]", "", text)[:100] for row, text in ROW.findall(mission)}


def covered_by(source: str) -> Iterator[str]:
    """Give every id that a ``covers`` mark in this source names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "covers":
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def main() -> int:
    path = Path(os.environ.get("MISSION") or ROOT.parent / "shared" / "mission.md")
    if not path.is_file():
        print("No mission found; MISSION=path/to/mission.md make coverage-of-mission")
        return 0
    rows = rows_of(path.read_text(encoding="utf-8"))
    named = {row for test in sorted((ROOT / "tests").rglob("*.py")) for row in covered_by(test.read_text(encoding="utf-8"))}
    for row, text in rows.items():
        if row not in named:
            print(f"{row:>4}  {text}")
    if unknown := sorted(named - rows.keys()):
        print(f"Named by tests, but no row: {', '.join(unknown)}")
    print(f"{len(named & rows.keys())} of {len(rows)} rows have a test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
