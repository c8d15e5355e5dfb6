"""What a storm leaves behind for whoever has to find out what went wrong."""

from collections.abc import Iterator
from pathlib import Path

from perdure.model.fact import as_json
from tests.torture.books import Books


def keep_evidence(books: Books, complaints: list[str], file: Path) -> None:
    """The file tells all that is known of the runs that the complaints name."""
    named = sorted({complaint.partition(": ")[0] for complaint in complaints} & (books.runs.keys() | books.journals.keys()))
    file.write_text("\n".join([*complaints, "", *(line for run in named for line in _history(books, run))]) + "\n")


def _history(books: Books, run: str) -> Iterator[str]:
    yield f"== {run}: {books.runs.get(run)}"
    for row in books.journals.get(run, []):
        yield f"  {row.number} at {row.at_us}"
        yield from (f"      {as_json(fact)}" for fact in row.facts)
    yield from (f"  {entry}" for entry in books.money.get(run, []))
    yield from (f"  {told}" for told in books.told if told.run == run)
