"""The auditors notice each thing that could be wrong, and have nothing to say of books that are in order."""

from collections.abc import Callable

import pytest

from perdure.model import fact as facts
from perdure.model.fact import AnyFact
from perdure.model.ids import CallName, RunId
from perdure.model.payload import Payload
from tests.torture.audit import complaints_of, summary_of
from tests.torture.books import Account, Books, MoneyEntry, Row, RunEntry
from tests.torture.client import Told

NOW_US = 1_800_000_000_000_000
ONE, TWO, THREE = CallName("1"), CallName("2"), CallName("3")


def payload(json: str) -> Payload:
    return Payload(json=facts.Raw(json.encode()))


def scheduled(call: CallName) -> AnyFact:
    return facts.ActionScheduled(call, "bank_move")


def completed(call: CallName) -> AnyFact:
    return facts.ActionCompleted(call, payload("null"))


def entry(kind: str, account: int, amount: int, *, run: str = "a", is_done: bool = True, at_us: int = NOW_US) -> MoneyEntry:
    return MoneyEntry(f"{run}#1#{kind}", run, kind, account, amount, 1, "n0", is_done, at_us)


def good_books() -> Books:
    """A transfer that was approved, a wait, and a run that waits for somebody."""
    books = Books(now_us=NOW_US)
    books.runs["a"] = RunEntry("a", "bank_approved", "completed", None, 1)
    books.journals["a"] = [
        Row(1, 1, [facts.RunStarted("bank_approved"), facts.SignalAwaited(ONE, "approval")]),
        Row(2, 2, [facts.SignalReceived("s", "approval", payload("true")), facts.SignalTaken(ONE, "s"), scheduled(TWO)]),
        Row(3, 3, [completed(TWO), scheduled(THREE)]),
        Row(4, 4, [completed(THREE), facts.RunCompleted(payload('"moved"'))]),
    ]
    books.money["a"] = [entry("withdraw", 1, -5), entry("deposit", 2, 5)]
    books.runs["t"] = RunEntry("t", "bank_timed", "completed", None, 1)
    books.journals["t"] = [Row(1, 1, [facts.RunStarted("bank_timed", (payload("2.5"),)), facts.RunCompleted(payload('"waited"'))])]
    books.money["t"] = [entry("before", 3, 0, run="t", at_us=NOW_US), entry("after", 3, 0, run="t", at_us=NOW_US + 2_600_000)]
    books.runs["w"] = RunEntry("w", "bank_waiter", "waiting", None, 1)
    books.journals["w"] = [Row(1, 1, [facts.RunStarted("bank_waiter"), facts.SignalAwaited(ONE, "approval")])]
    books.runs["request-1"] = RunEntry("request-1", "bank_approved", "completed", None, 1)
    books.journals["request-1"] = [Row(1, 1, [facts.RunStarted("bank_approved"), facts.RunCompleted(payload('"declined"'))])]
    books.requests.add("request-1")
    books.accounts = [Account(1, 100, 95), Account(2, 100, 105), Account(3, 0, 0)]
    books.told = [Told("started", "a", "disk"), Told("signalled", "a", True), Told("sleeping", "w"), Told("started", "t")]
    return books


def test_books_that_are_in_order_are_passed() -> None:
    assert complaints_of(good_books()) == []
    assert "4 runs" in summary_of(good_books())


Wrong = Callable[[Books], object]


def lose_run(books: Books) -> None:
    del books.runs["a"]


def open_again(books: Books, **changes: object) -> None:
    """The waiter becomes a run that should have completed, and waits in some way."""
    run = books.runs["w"]
    run.definition = "bank_sleeper"
    books.journals["w"][0].facts.pop()
    for name, value in changes.items():
        setattr(run, name, value)


WRONGS: list[tuple[str, Wrong]] = [
    ("have no gap", lambda books: books.journals["a"].pop(1)),
    ("begins with SignalAwaited", lambda books: books.journals["a"][0].facts.pop(0)),
    ("ended 2 times", lambda books: books.journals["a"][3].facts.append(facts.RunCompleted(payload("1")))),
    ("goes on after its end, with ActionScheduled", lambda books: books.journals["a"][3].facts.append(scheduled(CallName("4")))),
    ("its row says running and its journal completed", lambda books: setattr(books.runs["a"], "status", "running")),
    ("call 2 was scheduled 2 times", lambda books: books.journals["a"][2].facts.append(scheduled(TWO))),
    ("call 2 has 2 outcomes", lambda books: books.journals["a"][3].facts.insert(0, completed(TWO))),
    ("call 9 has an outcome and was never scheduled", lambda books: books.journals["a"][3].facts.insert(0, completed(CallName("9")))),
    ("signal s was taken 2 times", lambda books: books.journals["a"][2].facts.append(facts.SignalTaken(CallName("8"), "s"))),
    ("signal x was taken and never received", lambda books: books.journals["a"][2].facts.append(facts.SignalTaken(CallName("8"), "x"))),
    ("update u was accepted 2 times", lambda books: books.journals["a"][2].facts.extend([facts.UpdateAccepted("u", "pay")] * 2)),
    ("child c is not there", lambda books: books.journals["a"][2].facts.append(facts.ChildStarted(CallName("7"), RunId("c"), "d"))),
    ("a journal without a run", lose_run),
    ("held, and by nobody who lives", lambda books: open_again(books, wake_us=0)),
    ("held, and by nobody who lives", lambda books: open_again(books, wake_us=0, holder_until_us=NOW_US - 9_000_000)),
    ("nobody came", lambda books: open_again(books, wake_us=NOW_US - 9_000_000)),
    ("it is silent", open_again),
    ("its entries say 95", lambda books: setattr(books.accounts[0], "balance", 96)),
    ("there was 200 in all accounts and there is 201", lambda books: setattr(books.accounts[0], "balance", 96)),
    ("took effect 2 times", lambda books: books.money["a"].append(entry("withdraw", 1, -5))),
    ("a run that is not there", lambda books: books.money.update(ghost=[entry("pay", 3, 0, run="ghost")])),
    ("what the bank did", lambda books: books.money["a"].pop()),
    ("waited 1.000 s and should have waited 2.500 s", lambda books: setattr(books.money["t"][1], "at_us", NOW_US + 1_000_000)),
    ("it has ended and should not have", lambda books: setattr(books.runs["a"], "definition", "bank_waiter")),
    ("should have completed and is waiting", lambda books: setattr(books.runs["w"], "definition", "bank_transfer")),
    ("start was acknowledged (disk), and there is no such run", lose_run),
    ("start was acknowledged, and it is failed", lambda books: setattr(books.runs["a"], "status", "failed")),
    ("the answer False was acknowledged", lambda books: setattr(books.told[1], "value", False)),
    ("the payment of 7 was acknowledged", lambda books: books.told.append(Told("updated", "a", 7))),
    ("it should wait for hours", lambda books: setattr(books.runs["w"], "status", "stalled")),
    ("its row was committed and its start was not", lambda books: books.requests.add("request-2")),
    ("its start was committed and its row was not", lambda books: books.requests.clear()),
]


@pytest.mark.parametrize(("words", "spoil"), WRONGS, ids=[f"{number} {words}" for number, (words, _) in enumerate(WRONGS)])
def test_what_is_wrong_is_told(words: str, spoil: Wrong) -> None:
    books = good_books()
    spoil(books)
    assert any(words in complaint for complaint in complaints_of(books)), complaints_of(books)


@pytest.mark.parametrize("changes", [{"wake_us": 0, "holder_until_us": NOW_US}, {"wake_us": NOW_US + 1}, {"has_mail": True}])
def test_a_run_that_something_will_move_is_not_silent(changes: dict[str, object]) -> None:
    books = good_books()
    open_again(books, **changes)
    assert complaints_of(books) == []
