"""Remarks of the house rules: no failure, but worth a thought. They are shown at the end of the run."""

_asked: list[str] = []


def ask(*remarks: str) -> None:
    """Keep remarks for the end of the run."""
    _asked.extend(remarks)


def asked() -> tuple[str, ...]:
    """Give the remarks so far."""
    return tuple(dict.fromkeys(_asked))
