"""The order of the rows: steps in their branches, branches where they began, long rows of the like folded."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from perdure.insight import State, Step

FOLD_ABOVE = 24
KEPT_FIRST = 6
KEPT_LAST = 3
KEPT_STRIKING = 12
KEPT_FEW = 12


class Row(Struct, frozen=True):
    """One row of the drawing: a step with the ``prefix`` of its branch, or ``step`` is ``None`` and ``text`` says what was folded."""

    prefix: str
    step: Step | None
    text: str = ""


class _Branch(Struct):
    path: str
    steps: list[Step]
    branches: list["_Branch"]

    @property
    def began(self) -> datetime:
        return min([step.began for step in self.steps] + [branch.began for branch in self.branches])

    def all_steps(self) -> Iterator[Step]:
        yield from self.steps
        for branch in self.branches:
            yield from branch.all_steps()

    @property
    def is_striking(self) -> bool:
        return any(_is_striking(step) for step in self.all_steps())


_Item = Step | _Branch


def rows_of(steps: Sequence[Step], *, is_folded: bool = True) -> list[Row]:
    """Give the rows, from top to bottom."""
    root = _tree(steps)
    return list(_rows(root, "", "", is_folded)) if root is not None else []


def _is_striking(step: Step) -> bool:
    return step.state in (State.FAILED, State.OPEN, State.OUTSIDE) or len(step.tries) > 1


def _home_of(step: Step) -> str:
    """An update is drawn at the head of the branch that it began."""
    return step.branch or (step.call if step.call.startswith("u") else "")


def _parent_of(path: str) -> str:
    return path.rpartition(".")[0]


def _tree(steps: Sequence[Step]) -> _Branch | None:
    found: dict[str, _Branch] = {"": _Branch("", [], [])}

    def branch(path: str) -> _Branch:
        known = found.get(path)
        if known is None:
            known = found[path] = _Branch(path, [], [])
            branch(_parent_of(path)).branches.append(known)
        return known

    for step in steps:
        branch(_home_of(step)).steps.append(step)
    return found[""] if steps else None


def _rows(branch: _Branch, first: str, rest: str, is_folded: bool) -> Iterator[Row]:
    items: list[_Item] = sorted([*branch.steps, *branch.branches], key=_order)
    kept = _kept(items) if is_folded and len(items) > FOLD_ABOVE else range(len(items))
    prefix, last = first, -1
    for at in kept:
        if at > last + 1:
            yield Row(rest, None, _folded(items[last + 1 : at]))
        item, last = items[at], at
        if isinstance(item, Step):
            yield Row(prefix, item)
        else:
            yield from _rows(item, f"{prefix}├ ", f"{rest}│ ", is_folded)
        prefix = rest


def _order(item: _Item) -> tuple[datetime, int, list[int]]:
    name = item.path if isinstance(item, _Branch) else item.call.rpartition("/")[2]
    numbers = [int("".join(letter for letter in part if letter.isdigit()) or 0) for part in name.split(".")]
    return item.began, isinstance(item, _Branch), numbers


def _kept(items: Sequence[_Item]) -> list[int]:
    """Choose what is drawn of many: the first, the last, what failed, waits or was tried again, and the few steps among many branches."""
    steps = [at for at, item in enumerate(items) if isinstance(item, Step)]
    branches = [at for at, item in enumerate(items) if isinstance(item, _Branch)]
    few = [at for kind in (steps, branches) if len(kind) <= KEPT_FEW for at in kind]
    striking = [at for at, item in enumerate(items) if (item.is_striking if isinstance(item, _Branch) else _is_striking(item))]
    edges = [*range(KEPT_FIRST), *range(len(items) - KEPT_LAST, len(items))]
    return sorted({*edges, *few, *striking[:KEPT_STRIKING]})


def _folded(items: Sequence[_Item]) -> str:
    steps = [step for item in items for step in (item.all_steps() if isinstance(item, _Branch) else (item,))]
    branches = sum(isinstance(item, _Branch) for item in items)
    counts = {state: sum(step.state is state for step in steps) for state in State}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    what = f"{branches} more branches" if branches else f"{len(steps)} more calls"
    return f"⋮ {what}: {told} (--all shows them)"
