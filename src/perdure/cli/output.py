"""The terminal: colours where they are welcome, plain text where the output goes elsewhere, ASCII where nothing else can be shown."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from perdure.cli.drawing.page import ASCII

WIDTH_MIN = 40


class Paper:
    """Prints lines of text that were laid out for ``width`` columns."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.width = max(WIDTH_MIN, self.console.width)
        self.is_terminal = self.console.is_terminal
        self._is_ascii = not (self.console.encoding or "").lower().startswith("utf")

    def print(self, lines: Iterable[Text | str]) -> None:
        """Print each line; nothing is wrapped or cut."""
        for line in lines:
            text = Text(line) if isinstance(line, str) else line
            if self._is_ascii:
                text = _in_ascii(text)
            self.console.print(text, overflow="ignore", no_wrap=True, crop=False)


def _in_ascii(text: Text) -> Text:
    plain = text.plain.translate(ASCII)
    return Text(plain.encode("ascii", "replace").decode(), text.style, spans=[*text.spans])
