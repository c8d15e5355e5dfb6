"""Standalone tasks: a run that is one call of an action. Every engine knows its definition, by a name that users cannot give (I16)."""

from typing import Any

from msgspec import Struct

from perdure.deciders.code.authoring import Action, StartOptions, Workflow
from perdure.deciders.code.definition import CodeDefinition
from perdure.deciders.code.loop import current_context
from perdure.model.call import ActionSpec, OnLost
from perdure.model.errors import Unsupported
from perdure.model.plain_retry import PlainRetry, plain_of
from perdure.model.task import TASK_NAME


class Choice(Struct, frozen=True, omit_defaults=True):
    """The options that were chosen for a task, in place of what its action declares."""

    retry: PlainRetry
    timeout_us: int | None = None
    on_lost: OnLost = OnLost.RETRY


async def _perform(_name: str, _choice: Choice | None, /, *args: Any, **kwargs: Any) -> Any:
    context = current_context()
    if context is None:
        raise Unsupported(what="a standalone task outside an engine", why="use engine.dispatch(…)")
    spec = ActionSpec(name=_name)
    if _choice is not None:
        retry = _choice.retry.policy()
        spec = ActionSpec(name=_name, retry=retry, timeout_us=_choice.timeout_us, on_lost=_choice.on_lost, is_chosen=True)
    return await context.run_action(spec, args, kwargs, "")


def task_workflow(options: StartOptions) -> Workflow[..., Any]:
    """Give what a start takes to begin a task."""
    return Workflow(_perform, TASK, options)


TASK = CodeDefinition(_perform, name=TASK_NAME)


def choice_of(action: Action[..., Any], declared: ActionSpec | None) -> Choice | None:
    """Give the options that differ from those of the declaration, ``None`` if none does."""
    spec = action.spec
    if declared is not None and (spec.retry, spec.timeout_us, spec.on_lost) == (declared.retry, declared.timeout_us, declared.on_lost):
        return None
    return Choice(plain_of(spec.retry), spec.timeout_us, spec.on_lost)
