"""Loads the files that hold a user's workflows.

A module gets the name that an import would give it, in whichever process loads it: runs name exception classes by it.
"""

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from perdure import Action, Workflow
from perdure.cli.exits import CommandEnds, Exit

_OURS = str(Path(__file__).parents[1])


def load(files: Sequence[str]) -> list[ModuleType]:
    """Import files, or modules by name. Ends the command, with the user's traceback only, where that fails."""
    return [_load(file) for file in files]


def _load(file: str) -> ModuleType:
    path = Path(file)
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise CommandEnds(Exit.NOT_FOUND, f"perdure: there is no file {file}")
        return _load_file(path.resolve())
    if path.is_dir() and (path / "__init__.py").is_file():
        return _load_file(path.resolve() / "__init__.py")
    if "/" in file:
        raise CommandEnds(Exit.NOT_FOUND, f"perdure: there is no file {file}; give a Python file or the name of a module")
    _add_to_path(Path.cwd())
    return _import(file, file)


def _load_file(path: Path) -> ModuleType:
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    if path.suffix != ".py" or any("." in part for part in parts):
        raise CommandEnds(Exit.USAGE, f"perdure: {path.name} cannot be imported; name it like a module, such as flows.py")
    if parts[0] in sys.stdlib_module_names:
        raise CommandEnds(Exit.USAGE, _taken(path, name, "Python itself"))
    _add_to_path(folder)
    module = _import(name, str(path))
    found = getattr(module, "__file__", None)
    if found is None or not Path(found).samefile(path):
        raise CommandEnds(Exit.USAGE, _taken(path, name, found or "another module"))
    return module


def _taken(path: Path, name: str, owner: str) -> str:
    return f"perdure: {path} would be the module {name!r}, but that name belongs to {owner}. Rename the file."


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _import(name: str, file: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CommandEnds(Exit.NOT_FOUND, f"perdure: there is no file and no module {file}") from None
        raise CommandEnds(Exit.USAGE, f"{_users_part(error)}\nperdure: {file} could not be loaded.") from None


def _users_part(error: BaseException) -> str:
    """Write the traceback without the frames of the import machinery and of Perdure."""
    written = traceback.TracebackException.from_exception(error)
    kept = [frame for frame in written.stack if not frame.filename.startswith((_OURS, "<frozen")) and "/importlib/" not in frame.filename]
    written.stack = traceback.StackSummary.from_list(kept)
    return "".join(written.format()).rstrip()


def split_target(target: str) -> tuple[str, str]:
    """Take ``FILE:WORKFLOW`` apart."""
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name:
        raise CommandEnds(Exit.USAGE, f"perdure: found {target!r}, expected FILE:WORKFLOW, such as flows.py:thumbnails")
    return file, name


def actions_of(modules: Sequence[ModuleType]) -> list[Action[..., object]]:
    """Give the actions of these modules, each once."""
    found = [action for module in modules for action in _actions_by_name(module).values()]
    return list({id(action.function): action for action in found}.values())


def _actions_by_name(module: ModuleType) -> dict[str, Action[..., object]]:
    """Give the actions by the names of their variables; what makes configured actions, or is one, stands for the action that it calls."""
    found = {key: getattr(value, "__dict__", {}).get("perform", value) for key, value in vars(module).items()}
    return {key: value for key, value in found.items() if isinstance(value, Action)}


def action_in(module: ModuleType, name: str, file: str) -> Action[..., object]:
    """Find an action by the name of its variable, else by its own name. Ends the command if there is none."""
    known = _actions_by_name(module)
    found = known.get(name) or next((value for value in known.values() if value.spec.name == name), None)
    if found is None:
        raise CommandEnds(Exit.NOT_FOUND, f"perdure: {file} has no action {name!r}. It has: {', '.join(sorted(known)) or 'none'}.")
    return found


def workflow_in(module: ModuleType, name: str, file: str) -> Workflow[..., object]:
    """Find a workflow by the name of its variable, else by its own name. Ends the command if there is none."""
    known = {key: value for key, value in vars(module).items() if isinstance(value, Workflow)}
    found = known.get(name) or next((value for value in known.values() if value.definition.name == name), None)
    if found is not None:
        return found
    what = f"{name!r} in {file} is no workflow (is @workflow missing?)" if hasattr(module, name) else f"{file} has no workflow {name!r}"
    raise CommandEnds(Exit.NOT_FOUND, f"perdure: {what}. It has: {', '.join(sorted(known)) or 'none'}.")
