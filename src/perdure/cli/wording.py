"""Reasons, ages and errors in words."""

import re
from datetime import UTC, datetime
from typing import assert_never

from perdure import insight
from perdure.insight import AnyReason
from perdure.model.duration import instant_us, span_text
from perdure.model.failure import Failure

_ZEROS = re.compile(r"\.0+(?=\D)")


def now() -> datetime:
    """Give the present instant, aware."""
    return datetime.now(UTC)


def span_between(began: datetime, ended: datetime) -> str:
    """Write how long something took."""
    us = max(0, instant_us(ended) - instant_us(began))
    return _ZEROS.sub("", span_text(us)) if us else "0"


def age_of(at: datetime) -> str:
    """Write how long ago something was, in whole units."""
    seconds = max(0, int((now() - at).total_seconds()))
    return span_text(seconds * 1_000_000) if seconds >= 60 else f"{seconds}s"


def when(due: datetime) -> str:
    """Write when something is due."""
    left = (due - now()).total_seconds()
    if left <= 0:
        return "due now"
    return f"in {age_of(now() - (due - now()))} ({due:%Y-%m-%d %H:%M:%S} UTC)"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a number of things."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def plain_text(text: str) -> str:
    """Write what somebody else wrote so that a terminal obeys nothing of it: controls, and what turns text round, are escapes."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def error_text(failure: Failure) -> str:
    """Write an error as Python does, without the module."""
    name = failure.type.rpartition(":")[2] or "Error"
    return f"{name}: {failure.message}" if failure.message else name


def words_of(reason: AnyReason) -> str:
    """Write a reason as a sentence, without its line."""
    match reason:
        case insight.ActionReason():
            return _action(reason)
        case insight.OutsideReason():
            return f"call {reason.call}: the action {reason.action} left its call open; perdure complete '{reason.key}' VALUE ends it"
        case insight.TimerReason():
            return f"call {reason.call}: a timer, due {when(reason.due).removeprefix('due ')}"
        case insight.SignalReason():
            return f"call {reason.call}: the signal {reason.channel!r}"
        case insight.ChildReason():
            return f"call {reason.call}: its child {reason.run} ({reason.definition})"
        case insight.CodeReason():
            return f"code that is not served: {reason.problem}"
        case insight.StalledReason():
            return f"repair: {reason.problem}"
        case insight.NodeReason():
            return reason.problem
        case insight.BranchReason():
            return f"branch {reason.branch or 'root'} stands in {reason.function}"
        case _:
            assert_never(reason)


def _action(reason: insight.ActionReason) -> str:
    text = f"call {reason.call}: attempt {reason.attempt} of {reason.action}"
    if reason.next_attempt is not None:
        text += f", {when(reason.next_attempt)}"
    if reason.problem:
        text += f": {reason.problem}"
    return f"{text}; the one before: {reason.error}" if reason.error else text


def short_words_of(reason: AnyReason) -> str:
    """Write a reason in a few words, for a table."""
    match reason:
        case insight.ActionReason():
            later = f" {when(reason.next_attempt).partition(' (')[0]}" if reason.next_attempt else ""
            return f"{reason.action}, attempt {reason.attempt}{later}" if reason.attempt > 1 else reason.action
        case insight.OutsideReason():
            return f"outcome of {reason.action} {reason.call}"
        case insight.TimerReason():
            return f"timer {when(reason.due).partition(' (')[0]}"
        case insight.SignalReason():
            return f"signal {reason.channel}"
        case insight.ChildReason():
            return f"run {reason.run}"
        case insight.CodeReason() | insight.StalledReason():
            return reason.problem
        case insight.NodeReason():
            return "a node"
        case insight.BranchReason():
            return f"branch {reason.branch or 'root'}"
        case _:
            assert_never(reason)


def line_of(reason: AnyReason) -> str:
    """Give the reason's source line, empty where it has none."""
    return getattr(reason, "line", "")
