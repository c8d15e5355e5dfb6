"""One measured figure, as it is written down."""

import os
import platform
from typing import Any

import msgspec

import perdure


class Result(msgspec.Struct, frozen=True):
    """``workload`` says what ran, ``store`` lies in ``settings``. A figure that could not be had has no value, and a reason."""

    peer: str
    workload: str
    value: float | None
    unit: str
    settings: dict[str, Any]

    @property
    def store(self) -> str:
        return str(self.settings.get("store", ""))

    def line(self) -> str:
        return msgspec.json.encode(self).decode()


def read_result(line: str | bytes) -> Result | None:
    """Give the figure in a line of output, ``None`` if it holds none."""
    try:
        return msgspec.json.decode(line, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def surroundings(store: str, loop: str, sqlite: str) -> dict[str, Any]:
    """Give what every figure of ours is stated with."""
    from importlib.metadata import version

    return {
        "store": store,
        "version": version(perdure.__name__),
        "python": platform.python_version(),
        "loop": loop,
        "sqlite": sqlite,
        "sync": "full" if store == "sqlite" else "none",
        "slow_sync_us": int(os.environ.get("SLOWSYNC_US", "0")),
        "cpus": os.cpu_count(),
    }
