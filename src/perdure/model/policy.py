"""What a namespace says about its runs: kept in its store, and taken up by live nodes."""

from typing import Final

import msgspec
from msgspec import Struct

from perdure.model.errors import CorruptJournal, InvalidOption
from perdure.model.limits import Limits
from perdure.model.retention import Retention

SETTING: Final = "policy"
"""The name of the store's setting that holds it."""
FIXED: Final = frozenset({"payload_inline_max", "payload_bytes_max", "runs_idle_max", "attempts_running_max"})
"""Limits of the engine's own, which it takes up when it is opened; a namespace cannot change them."""


class Policy(Struct, frozen=True, omit_defaults=True):
    """``limits`` by name, and spans of `Retention` by name; what is not named is as the engine says."""

    limits: dict[str, int] = {}
    retention: dict[str, str] = {}

    def check(self) -> None:
        """Raise `InvalidOption` for a limit that a namespace cannot set, and for what is no span."""
        known = sorted(set(Limits.__struct_fields__) - FIXED)
        for name, value in self.limits.items():
            if name not in known or value < 1:
                raise InvalidOption(
                    option="limit of a namespace", found=f"{name}={value}", expected=f"at least 1 for one of {', '.join(known)}"
                )
        if unknown := set(self.retention) - set(Retention.__struct_fields__):
            raise InvalidOption(option="retention", found=", ".join(sorted(unknown)), expected=", ".join(Retention.__struct_fields__))
        self.retained(Retention()).checked()

    def retained(self, own: Retention) -> Retention:
        """Give the retention of an engine whose own is this."""
        return msgspec.structs.replace(own, **self.retention)


encode_policy = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Policy)


def decode_policy(text: str | None) -> Policy:
    """Read a setting; raises `CorruptJournal` if it is none."""
    if text is None:
        return Policy()
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise CorruptJournal(what=f"{error} in the setting {SETTING!r}") from error
