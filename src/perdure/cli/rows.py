"""Runs, steps and reasons as plain JSON values: what ``--json`` prints."""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.cli.wording import words_of
from perdure.insight import AnyReason, Entry, Step, Timeline
from perdure.model.duration import instant
from perdure.model.run import HELD, RunRow


def row_json(row: RunRow) -> dict[str, Any]:
    """Give a run's row. ``wakes``: when it is due, ``null`` where only a stimulus can move it or a node holds it."""
    return {
        "id": row.id,
        "definition": row.definition,
        "version": row.version,
        "status": row.status,
        "tags": list(row.tags),
        "parent": row.parent,
        "created": instant(row.created_us),
        "updated": instant(row.updated_us),
        "wakes": instant(row.wake_us) if row.wake_us not in (None, HELD) and row.wake_us is not None else None,
        "reason": row.reason,
        "state": None if row.state is None else msgspec.Raw(row.state),
    }


def reasons_json(reasons: Sequence[AnyReason]) -> list[dict[str, Any]]:
    """Give the typed reasons, each with its sentence as ``text``."""
    return [{**msgspec.to_builtins(reason), "text": words_of(reason)} for reason in reasons]


def run_json(row: RunRow, timeline: Timeline, entries: Sequence[Entry], reasons: Sequence[AnyReason]) -> dict[str, Any]:
    """Give everything that is known of a run: its row, its steps, what it waits for, and its whole journal."""
    return {
        **row_json(row),
        "began": timeline.began,
        "ended": timeline.ended,
        "steps": [_step_json(step) for step in timeline.steps],
        "marks": timeline.marks,
        "waits": reasons_json(reasons),
        "journal": [entry.as_json() for entry in entries],
    }


def _step_json(step: Step) -> dict[str, Any]:
    """Give a step. ``value``: what it gave, where that is JSON and not large."""
    told = {name: getattr(step, name) for name in step.__struct_fields__}
    has_value = step.value is not None and step.value.json is not msgspec.UNSET
    return {**told, "value": step.value.json if step.value is not None and has_value else None}
