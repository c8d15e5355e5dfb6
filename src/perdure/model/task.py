"""Standalone tasks, as everybody names them: runs that are one call of an action."""

from perdure.model.ids import CallName

RESERVED = "perdure."
"""What the names of built-in definitions begin with; users' names must not."""

TASK_NAME = "perdure.task"
"""The definition of these runs."""

TASK_CALL = CallName("1")
"""The only call of such a run."""
