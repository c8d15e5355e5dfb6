"""What the auditors say together."""

from collections import Counter

from tests.torture.bank_audit import audit_bank
from tests.torture.books import Books
from tests.torture.journal_audit import audit_journals


def complaints_of(books: Books) -> list[str]:
    """Give one line for each thing that is wrong, none if the books are in order."""
    return [*audit_journals(books), *audit_bank(books)]


def summary_of(books: Books) -> str:
    """Tell what there was to audit."""
    kinds = Counter(run.definition.removeprefix("bank_") for run in books.runs.values())
    rows = sum(len(rows) for rows in books.journals.values())
    facts = sum(len(row.facts) for rows in books.journals.values() for row in rows)
    money = sum(len(entries) for entries in books.money.values())
    lost = sum(type(fact).__name__ == "AttemptLost" for rows in books.journals.values() for row in rows for fact in row.facts)
    runs = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"{len(books.runs)} runs ({runs}), {rows} journal rows with {facts} facts, {lost} lost attempts, {money} entries of money, "
        f"{len(books.told)} acknowledgements"
    )
