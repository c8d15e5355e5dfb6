"""The board in a terminal, drawn with rich: one cell for each branch."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from perdure.demo.progress import Progress, Stage
from perdure.demo.screen import STAGES, Row

CELLS: Mapping[Stage, tuple[str, str]] = {
    Stage.KEPT: ("■", "green"),
    Stage.AGAIN: ("◆", "bold yellow"),
    Stage.DONE: ("■", "bright_blue"),
    Stage.RUNNING: ("▸", "bold white"),
    Stage.CUT: ("✗", "bold red"),
    Stage.CROPPED: ("▪", "cyan"),
    Stage.WAITING: ("·", "bright_black"),
}
MOODS: Mapping[str, tuple[str, str]] = {"good": ("✓", "bold green"), "bad": ("✗", "bold red"), "": ("•", "cyan")}


class RichScreen:
    """Events scroll by above, the board stays below."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._board: Sequence[Progress] = ()
        self._is_dead = False
        self._live: Live | None = None

    @property
    def is_usable(self) -> bool:
        """Tell whether the terminal can draw over what it has drawn, and has the signs for it."""
        console = self._console
        return console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf")

    def say(self, text: str, mood: str = "") -> None:
        mark, style = MOODS[mood]
        time_text = Text(f"{time.monotonic() - self._began:5.1f} s ", style="bright_black")
        self._console.print(time_text + Text(f"{mark} ", style=style) + Text(text, style=style if mood else ""))

    def show(self, board: Sequence[Progress], *, is_dead: bool = False) -> None:
        self._board, self._is_dead = board, is_dead
        if not board:
            self.close()
        elif self._live is None:
            self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=12, transient=True)
            self._live.start()

    def conclude(self, title: str, rows: Sequence[Row]) -> None:
        self.close()
        if self._board:
            self._console.print(self._draw())
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 1))
        for name, value in rows:
            table.add_row(Text(name, style="bright_black"), Text(value))
        self._console.print(Padding(Group(Text(title, style="bold"), table), (1, 1, 0, 1)))

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _draw(self) -> RenderableType:
        stages = [(progress, progress.stages(is_dead=self._is_dead)) for progress in self._board]
        large = [Text(f"{progress.title}  {_share(found)}\n") + _cells(found) for progress, found in stages if len(found) > 12]
        small = Table.grid(padding=(0, 3))
        entries = [Text.assemble(*_signs(found), f" {progress.title}") for progress, found in stages if len(found) <= 12]
        columns = max(1, min(len(entries), (self._console.width - 4) // 20))
        for at in range(0, len(entries), columns):
            small.add_row(*entries[at : at + columns])
        border = "red" if self._is_dead else "bright_black"
        title = "[bold red]no engine is running[/]" if self._is_dead else "[bold]one cell = one branch: crop, then upload[/]"
        return Panel(Group(*large, Text(), small, Text(), self._legend(stages)), title=title, border_style=border, padding=(0, 1))

    def _legend(self, stages: Sequence[tuple[Progress, Sequence[Stage]]]) -> Text:
        counts = Counter(stage for _, found in stages for stage in found)
        legend = Text()
        for stage in STAGES:
            if counts[stage]:
                sign, style = CELLS[stage]
                legend.append(f"{sign} ", style).append(f"{counts[stage]} {stage.value}   ")
        return legend


def _share(stages: Sequence[Stage]) -> str:
    done = sum(stage in (Stage.KEPT, Stage.AGAIN, Stage.DONE) for stage in stages)
    return f"{done} of {len(stages)}"


def _signs(stages: Sequence[Stage]) -> Iterator[tuple[str, str]]:
    for stage in stages:
        sign, style = CELLS[stage]
        yield f"{sign} ", style


def _cells(stages: Sequence[Stage]) -> Text:
    return Text.assemble(*_signs(stages))
