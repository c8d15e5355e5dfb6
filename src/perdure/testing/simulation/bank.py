"""Accounts outside the engine: what actions do to them is idempotent by the key of their call, as with a real bank."""

from contextvars import ContextVar

from msgspec import Struct

OPENING = 100
ACCOUNTS = ("ann", "bob", "cleo")
CLOSED = "closed"
"""An account that takes no money."""


class Entry(Struct, frozen=True):
    account: str
    amount: int
    is_done: bool


class Bank:
    """``entries``: what was asked for, by idempotency key. ``marks``: other effects, by key."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = dict.fromkeys(ACCOUNTS, OPENING)
        self.entries: dict[str, Entry] = {}
        self.marks: dict[str, str] = {}

    def move(self, key: str, account: str, amount: int) -> bool:
        """The amount is on the account, or was refused; asked again with the same key, nothing but the same answer follows."""
        known = self.entries.get(key)
        if known is None:
            is_done = account in self.balances and self.balances[account] + amount >= 0
            known = self.entries[key] = Entry(account, amount, is_done)
            if is_done:
                self.balances[account] += amount
        return known.is_done

    def problems(self) -> list[str]:
        """Tell how money came or went that should not have."""
        total, expected = sum(self.balances.values()), OPENING * len(ACCOUNTS)
        return [] if total == expected else [f"money is not conserved: {total} is there, {expected} was; {self.balances}"]


the_bank: ContextVar[Bank] = ContextVar("perdure_simulated_bank")
"""The bank of the world that is running."""
