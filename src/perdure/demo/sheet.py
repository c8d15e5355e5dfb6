"""The contact sheet: every thumbnail that was uploaded, with a line below it that tells how its branch went."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from perdure.demo.progress import Progress, Stage

WIDTH, MARGIN, GAP, LINE = 2000, 48, 10, 5
PAPER, INK, FAINT = (24, 25, 29), (236, 236, 232), (140, 142, 150)
LINES: Mapping[Stage, tuple[tuple[int, int, int], str]] = {
    Stage.KEPT: ((92, 184, 92), "uploaded before the engine was killed, and kept"),
    Stage.AGAIN: ((240, 190, 70), "cut off by the kill, and made again"),
    Stage.DONE: ((92, 140, 240), "begun after it"),
}
UNKNOWN = ((220, 60, 60), "")

Tile = tuple[Image.Image, Stage]
Place = tuple[int, int, Tile]


def lay_out(folder: Path, board: Sequence[Progress], title: str) -> Image.Image:
    """Put the thumbnails of all runs on one sheet; each run's lie in ``folder/<title of the run>``."""
    places: list[Place] = []
    headings: list[tuple[int, str]] = []
    at = MARGIN + 110
    for row in _rows(board):
        headings.append((at, "     ".join(f"{progress.title} ({len(progress.sizes)} sizes)" for progress in row)))
        tiles = [tile for progress in row for tile in _tiles(folder / progress.title, progress)]
        at = _flow(tiles, at + 40, places) + 36
    sheet = Image.new("RGB", (WIDTH, at + MARGIN - 36), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), title, INK, ImageFont.load_default(40))
    _draw_legend(draw, MARGIN + 56)
    for top, text in headings:
        draw.text((MARGIN, top), text, FAINT, ImageFont.load_default(24))
    for left, bottom, (image, stage) in places:
        sheet.paste(image, (left, bottom - image.height))
        draw.rectangle((left, bottom + 2, left + image.width - 1, bottom + 1 + LINE), fill=LINES.get(stage, UNKNOWN)[0])
    return sheet


def _rows(board: Sequence[Progress]) -> Iterator[list[Progress]]:
    """The runs with few sizes share one flow, the others get one each."""
    few = [progress for progress in board if len(progress.sizes) <= 12]
    if few:
        yield few
    yield from ([progress] for progress in board if len(progress.sizes) > 12)


def _tiles(folder: Path, progress: Progress) -> Iterator[Tile]:
    for size, stage in zip(progress.sizes, progress.stages(), strict=True):
        with Image.open(folder / f"{size:03}.jpg") as image:
            yield image.convert("RGB"), stage


def _flow(tiles: Sequence[Tile], top: int, places: list[Place]) -> int:
    """Set the tiles like words on lines; gives where the last line ends."""
    line: list[Tile] = []
    left = MARGIN
    for tile in tiles:
        if line and left + tile[0].width > WIDTH - MARGIN:
            top = _set(line, top, places)
            line, left = [], MARGIN
        line.append(tile)
        left += tile[0].width + GAP
    return _set(line, top, places)


def _set(line: Sequence[Tile], top: int, places: list[Place]) -> int:
    bottom, left = top + max(image.height for image, _ in line), MARGIN
    for tile in line:
        places.append((left, bottom, tile))
        left += tile[0].width + GAP
    return bottom + LINE + GAP + 4


def _draw_legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    left, font = MARGIN, ImageFont.load_default(22)
    for colour, text in LINES.values():
        draw.rectangle((left, top + 10, left + 34, top + 10 + LINE), fill=colour)
        draw.text((left + 46, top), text, FAINT, font)
        left += 46 + round(draw.textlength(text, font)) + 40
