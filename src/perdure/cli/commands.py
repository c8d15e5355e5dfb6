"""The commands, once, as data: both the plain help and the full command line are made from this table."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

INSTALL = "pip install 'perdure[cli]'"


class Command(NamedTuple):
    """``target`` is ``module:function``, imported when the command is used; empty for programs that take the rest of the line."""

    name: str
    usage: str
    summary: str
    group: str
    target: str = ""


RUNNING, ASKING, LOOKING, TASKS, TICKETS, KEEPING, TRYING = "Run", "Ask", "Look", "Tasks", "Tickets", "Keep", "Try"

COMMANDS: Sequence[Command] = (
    Command("serve", "FILE…", "Run the workflows of these files until told to stop.", RUNNING, "perdure.cli.serve:serve"),
    Command("worker", "FILE…", "Perform the actions of these files for nodes elsewhere.", RUNNING, "perdure.cli.worker:worker"),
    Command("start", "FILE:WORKFLOW ARGS…", "Start a run; --wait for its result.", RUNNING, "perdure.cli.start:start"),
    Command("api", "", "Answer the HTTP API of a store until told to stop.", RUNNING, "perdure.cli.api:api"),
    Command("health", "", "List the nodes of a store.", LOOKING, "perdure.cli.health:health"),
    Command("list", "", "List runs, newest first.", LOOKING, "perdure.cli.listing:list_runs"),
    Command("show", "ID", "Draw the timeline of a run.", LOOKING, "perdure.cli.showing:show"),
    Command("watch", "ID", "Print the facts of a run as they happen.", LOOKING, "perdure.cli.watching:watch"),
    Command("why", "ID", "Tell what a run waits for, with source lines.", LOOKING, "perdure.cli.showing:why"),
    Command("actions", "", "List the actions that workers announced.", LOOKING, "perdure.cli.attending:actions"),
    Command("workers", "", "List the workers, alive and silent.", LOOKING, "perdure.cli.attending:workers"),
    Command("result", "ID", "Wait for the end of a run and print its result.", ASKING, "perdure.cli.asking:result"),
    Command("send", "ID SIGNAL [VALUE]", "Send a signal.", ASKING, "perdure.cli.asking:send"),
    Command("update", "ID METHOD ARGS…", "Call an update method and print its answer.", ASKING, "perdure.cli.asking:update"),
    Command("query", "ID METHOD ARGS…", "Call a query method and print its answer.", ASKING, "perdure.cli.asking:query"),
    Command("cancel", "ID", "Ask a run to end; its code may clean up.", ASKING, "perdure.cli.asking:cancel"),
    Command("resume", "ID", "Try a stalled run again with the code that is served now.", ASKING, "perdure.cli.asking:resume"),
    Command("retry", "[ID…] [--failed]", "Make failed calls again; a failed run goes on.", ASKING, "perdure.cli.retrying:retry"),
    Command("complete", "KEY [VALUE]", "Give an open call its value.", ASKING, "perdure.cli.asking:complete"),
    Command("fail", "KEY MESSAGE", "End an open call by an error.", ASKING, "perdure.cli.asking:fail"),
    Command("task dispatch", "FILE:ACTION ARGS…", "Start a run that is one call of an action.", TASKS, "perdure.cli.tasks:dispatch"),
    Command("task retry", "ID", "Make a failed task again; --input for new arguments.", TASKS, "perdure.cli.tasks:retry_task"),
    Command("task cancel", "ID", "End a task; --output gives it a value instead.", TASKS, "perdure.cli.tasks:cancel_task"),
    Command("task list", "", "List standalone tasks, newest first.", TASKS, "perdure.cli.tasks:list_tasks"),
    Command("task show", "ID", "Draw the timeline of a task.", TASKS, "perdure.cli.tasks:show_task"),
    Command("tickets list", "", "List what people are asked.", TICKETS, "perdure.cli.tickets:list_all"),
    Command("tickets show", "ID", "Print a ticket and its form.", TICKETS, "perdure.cli.tickets:show"),
    Command("tickets answer", "ID --as NAME --data JSON", "Answer a ticket.", TICKETS, "perdure.cli.tickets:answer"),
    Command("tickets link", "ID --as NAME", "Make a link by which one person can answer once.", TICKETS, "perdure.cli.tickets:link"),
    Command("ns create", "NAME", "Make a namespace.", KEEPING, "perdure.cli.namespaces:create"),
    Command("ns list", "", "List namespaces.", KEEPING, "perdure.cli.namespaces:list_all"),
    Command("ns show", "NAME", "Print a namespace's limits and retention.", KEEPING, "perdure.cli.namespaces:show"),
    Command("ns set", "NAME", "Change a namespace's limits and retention.", KEEPING, "perdure.cli.namespaces:change"),
    Command("ns delete", "NAME", "Delete a namespace.", KEEPING, "perdure.cli.namespaces:delete"),
    Command("grpc register", "HOST:PORT", "Make a gRPC service's methods actions.", KEEPING, "perdure.cli.grpc:register"),
    Command("grpc list", "", "List the actions of gRPC services.", KEEPING, "perdure.cli.grpc:list_all"),
    Command("grpc call", "HOST:PORT METHOD [JSON]", "Call a gRPC method once.", KEEPING, "perdure.cli.grpc:call"),
    Command("token create", "NAME --scopes LIST", "Make an API token; it is printed once.", KEEPING, "perdure.cli.token:create"),
    Command("token list", "", "List the API tokens.", KEEPING, "perdure.cli.token:list_all"),
    Command("token revoke", "NAME", "Revoke an API token.", KEEPING, "perdure.cli.token:revoke"),
    Command("dead list", "", "List the packets that nobody could take.", KEEPING, "perdure.cli.letters:list_all"),
    Command("dead show", "ID", "Print a dead letter.", KEEPING, "perdure.cli.letters:show"),
    Command("dead retry", "[ID…] [--all]", "Put dead letters back to where they came from.", KEEPING, "perdure.cli.letters:retry"),
    Command("dead drop", "[ID…] [--all]", "Delete dead letters.", KEEPING, "perdure.cli.letters:drop"),
    Command("schema apply", "", "Make the tables, or bring them up to date.", KEEPING, "perdure.cli.schema:apply"),
    Command("schema show", "", "Tell the version of a store's tables.", KEEPING, "perdure.cli.schema:show"),
    Command("audit", "", "Look at every run for what cannot be.", KEEPING, "perdure.cli.auditing:audit"),
    Command("export", "FILE", "Write runs to a file, for another store.", KEEPING, "perdure.cli.moving:export"),
    Command("import", "FILE", "Take the runs of a file into a store.", KEEPING, "perdure.cli.moving:import_runs"),
    Command("erase", "ID", "Erase the personal data of a run.", KEEPING, "perdure.cli.erasing:erase"),
    Command("prune", "", "Delete runs that ended long ago.", KEEPING, "perdure.cli.pruning:prune"),
    Command("demo", "", "Kill an image pipeline half-way and watch it finish.", TRYING),
    Command("bench", "", "Measure on this machine, beside its raw ceiling.", TRYING),
)

GROUPS = (RUNNING, LOOKING, ASKING, TASKS, TICKETS, KEEPING, TRYING)


def command_of(given: Sequence[str]) -> Command | None:
    """Find the command that a line begins with."""
    return next((command for command in COMMANDS if command.name.split() == list(given[: len(command.name.split())])), None)


def plain_help() -> str:
    """Write the help for a machine without the extra ``cli``."""
    width = max(len(f"{command.name} {command.usage}") for command in COMMANDS)
    lines = ["Usage: perdure COMMAND", "", "Durable processes in plain Python."]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [
            f"  {f'{command.name} {command.usage}'.strip():{width}}  {command.summary}" for command in COMMANDS if command.group == group
        ]
    lines += ["", f"The commands need an extra, which is not installed: {INSTALL}", "Then 'perdure COMMAND --help' explains each."]
    return "\n".join(lines)


def version_text() -> str:
    """Name the version of the package that is installed."""
    try:
        return version("perdure")
    except PackageNotFoundError:
        return "not installed"
