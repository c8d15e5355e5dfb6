"""What the auditors say together. Ours see the whole of the tables at one instant, and the bank; `perdure audit` reads as in production."""

from collections import Counter

from perdure.insight.audit import Audit
from perdure.stores.postgres.store import PostgresStore
from tests.torture.bank_audit import audit_bank
from tests.torture.books import Books
from tests.torture.journal_audit import audit_journals


def complaints_of(books: Books) -> list[str]:
    """Give one line for each thing that is wrong, none if the books are in order."""
    return [*audit_journals(books), *audit_bank(books)]


async def complaints_in_production(url: str) -> list[str]:
    """Give what `perdure audit` says of the store."""
    store = PostgresStore(url)
    await store.open()
    try:
        audit = Audit(store)
        found = [f"perdure audit: {fault.run}: {fault.rule.value}: {fault.text}" async for fault in audit.faults()]
        return found if audit.runs else ["perdure audit: there was nothing to audit"]
    finally:
        await store.close()


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
