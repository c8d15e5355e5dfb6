"""Audits the bank: money is neither made nor lost, what was acknowledged has happened, and nothing happened twice."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from perdure.model import fact as facts
from tests.torture.bank import HOUR_S
from tests.torture.books import Books, MoneyEntry

SLACK_US = 100_000
"""How far the clocks of two nodes may be apart that go by the store's."""
_DONE = {
    "moved": {"withdraw": True, "deposit": True},
    "undone": {"withdraw": True, "deposit": False, "undo": True},
    "refused": {"withdraw": False},
    "declined": {},
}
_NEVER_ENDING = ("bank_sleeper", "bank_waiter")


def audit_bank(books: Books) -> Iterator[str]:
    """Give what is wrong with the money, and with what the client was told."""
    yield from _balances(books)
    yield from _keys(books)
    for run in books.runs.values():
        if run.status == "completed":
            yield from (f"{run.id}: {complaint}" for complaint in _effects(books, run.id, run.definition))
        elif run.definition not in _NEVER_ENDING:
            yield f"{run.id}: it should have completed and is {run.status}"
    yield from _told(books)
    yield from _requests(books)


def _balances(books: Books) -> Iterator[str]:
    moved = Counter[int]()
    for entry in (entry for entries in books.money.values() for entry in entries if entry.is_done):
        moved[entry.account] += entry.amount
    for account in books.accounts:
        if account.balance != account.began_with + moved[account.id]:
            yield f"account {account.id} has {account.balance}; its entries say {account.began_with + moved[account.id]}"
    before, after = sum(account.began_with for account in books.accounts), sum(account.balance for account in books.accounts)
    # Whatever is under way has ended by now: nothing is between two accounts.
    if before != after:
        yield f"there was {before} in all accounts and there is {after}"


def _keys(books: Books) -> Iterator[str]:
    for run, entries in books.money.items():
        for key, count in Counter(entry.key for entry in entries if entry.is_done).items():
            if count > 1:
                made = [f"attempt {entry.attempt} on {entry.node}" for entry in entries if entry.key == key]
                yield f"{run}: {key} took effect {count} times: {', '.join(made)}"
        if run not in books.runs:
            yield f"{run}: money was moved for a run that is not there"


def _result(books: Books, run: str) -> Any:
    last = books.journals[run][-1].facts[-1] if books.journals.get(run) else None
    if not isinstance(last, facts.RunCompleted) or last.value.json is None:
        return None
    return msgspec.json.decode(bytes(last.value.json))


def _payments(books: Books, run: str) -> list[int]:
    result = _result(books, run)
    return result if isinstance(result, list) else []


def _effects(books: Books, run: str, definition: str) -> Iterator[str]:
    result, entries = _result(books, run), books.money.get(run, [])
    match definition:
        case "bank_transfer" | "bank_approved":
            yield from _transfer(result, entries)
        case "bank_timed":
            yield from _wait(books, run, entries)
        case "bank_counter":
            paid = sorted(entry.amount for entry in entries if entry.kind == "pay" and entry.is_done)
            if paid != result:
                yield f"it says it paid {result}, and the bank {paid}"
        case name if name in _NEVER_ENDING:
            yield "it has ended and should not have"


def _transfer(result: Any, entries: list[MoneyEntry]) -> Iterator[str]:
    wanted = _DONE.get(result)
    # A refusal of a transactional action leaves nothing: it was rolled back with its transaction.
    done = {entry.kind: entry.is_done for entry in entries}
    took_effect = sorted(kind for kind, is_done in done.items() if is_done)
    if wanted is None or took_effect != sorted(kind for kind, is_done in wanted.items() if is_done):
        yield f"its result is {result!r}, and what the bank did {done}"


def _wait(books: Books, run: str, entries: list[MoneyEntry]) -> Iterator[str]:
    stamps = {entry.kind: entry.at_us for entry in entries}
    started = books.journals[run][0].facts[0]
    assert isinstance(started, facts.RunStarted)
    span_us = int(msgspec.json.decode(bytes(started.args[0].json or b"0")) * 1e6)
    if stamps.keys() != {"before", "after"}:
        yield f"it has the stamps {sorted(stamps)}"
    elif stamps["after"] - stamps["before"] < span_us - SLACK_US:
        yield f"it waited {(stamps['after'] - stamps['before']) / 1e6:.3f} s and should have waited {span_us / 1e6:.3f} s"
    elif stamps["after"] - stamps["before"] > span_us + HOUR_S / 2 * 1e6:
        yield "its timer fired an hour late"


def _told(books: Books) -> Iterator[str]:
    """What the client was told had been taken."""
    for told in books.told:
        run = books.runs.get(told.run)
        if run is None:
            yield f"{told.run}: its start was acknowledged ({told.value}), and there is no such run"
        elif told.what == "started" and run.status != "completed":
            yield f"{told.run}: its start was acknowledged, and it is {run.status}"
        elif told.what == "signalled" and (_result(books, run.id) == "declined") == told.value:
            yield f"{told.run}: the answer {told.value} was acknowledged, and the result is {_result(books, run.id)!r}"
        elif told.what == "updated" and told.value not in _payments(books, run.id):
            yield f"{told.run}: the payment of {told.value} was acknowledged, and the result is {_result(books, run.id)!r}"
        elif told.what == "sleeping" and run.status != "waiting":
            yield f"{told.run}: it should wait for hours, and is {run.status}"


def _requests(books: Books) -> Iterator[str]:
    """A row and a start that were one transaction are both there, or neither is."""
    runs = {run for run in books.runs if run.startswith("request-")}
    yield from (f"{run}: its row was committed and its start was not" for run in books.requests - runs)
    yield from (f"{run}: its start was committed and its row was not" for run in runs - books.requests)
