"""What `crash_everywhere` found, for people."""

from msgspec import Struct


class CrashFailure(Struct, frozen=True):
    """One case in which a run did not do what it does undisturbed. ``problems`` are sentences; ``journal`` is the run's, as text."""

    case: str
    size: int
    problems: tuple[str, ...]
    journal: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self.case, *(f"  - {problem}" for problem in self.problems)]
        if self.journal:
            lines += ["  journal of the run:", *(f"    {row}" for row in self.journal)]
        return "\n".join(lines)


class Report(Struct, frozen=True):
    """True if nothing differed. ``cases`` were tried; ``commits``: how many the undisturbed run took; ``failures``: smallest case first."""

    workflow: str
    cases: int
    commits: int
    failures: tuple[CrashFailure, ...]

    def __bool__(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        head = f"crash_everywhere({self.workflow}): {self.cases} cases over {self.commits} commits"
        if not self.failures:
            return f"{head}, all alike"
        shown = [f"{number}. {failure}" for number, failure in enumerate(self.failures[:5], 1)]
        more = len(self.failures) - len(shown)
        return "\n".join([f"{head}, {len(self.failures)} differ; smallest first:", *shown, *([f"… and {more} more"] if more else [])])

    __repr__ = __str__
