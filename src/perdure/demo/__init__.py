"""``perdure demo``: an image pipeline whose engine is killed half-way, and which finishes anyway."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.demo.screen import Screen

MARK = "perdure-demo"
PROBLEMS_SHOWN = 10
FAILED, MISUSED, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Play the demo. Gives 0 if the killed runs came to what the uninterrupted ones did, 1 if not, 2 if it could not begin."""
    options = _parser().parse_args(argv)
    try:
        import PIL  # noqa: F401
    except ModuleNotFoundError:
        print("the demo crops pictures with Pillow, which is not installed: pip install 'perdure[demo]'", file=sys.stderr)
        return MISUSED
    try:
        with _folder(options.keep) as folder:
            return asyncio.run(_play(folder, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; the engine was ended with the demo", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError) as error:
        print(f"perdure demo: {error}", file=sys.stderr)
        return MISUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="perdure demo", description="Kill an image pipeline half-way and watch it finish.")
    parser.add_argument("--images", type=Path, metavar="DIR", help="JPEG files of yours to work on; otherwise some are painted")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave pictures, contact sheet, SQLite files and logs in this folder")
    parser.add_argument("--kills", type=_count, default=1, metavar="N", help="how often the engine is killed (default: 1)")
    parser.add_argument("--plain", action="store_true", help="lines of text instead of a live board")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 20:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 20")
    return number


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give an empty folder: one that goes away afterwards, or the user's, where only what an earlier demo left is replaced."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix=f"{MARK}-") as name:
            yield Path(name)
        return
    keep = keep.absolute()
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()) and not (keep / f".{MARK}").exists():
        raise ValueError(f"{keep} is not empty and was not made by the demo; name a new folder")
    for path in keep.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (keep / f".{MARK}").touch()
    yield keep


async def _play(folder: Path, options: argparse.Namespace) -> int:
    from perdure.demo.screen import open_screen
    from perdure.demo.server import PictureServer
    from perdure.demo.story import Stage, tell

    task = asyncio.current_task()
    assert task is not None
    # Told to end, the demo ends its engine first.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    screen = open_screen(is_plain=options.plain)
    problems: list[str] = []
    pictures = await _pictures(folder / "pictures", options.images, screen)
    try:
        with PictureServer(folder, pause_s=0) as server:
            problems = await tell(Stage(folder, server, pictures, options.kills), screen)
    except* Exception as group:
        problems = [f"{type(error).__name__}: {error}" for error in group.exceptions]
    finally:
        screen.close()
    return _judge(problems, folder if options.keep else None)


async def _pictures(folder: Path, source: Path | None, screen: "Screen") -> list[Path]:
    from perdure.demo import pictures

    folder.mkdir()
    if source is not None:
        return pictures.copy_all(source, folder)
    screen.say("painting some pictures; --images DIR takes yours")
    return await asyncio.to_thread(pictures.paint_all, folder)


def _judge(problems: Sequence[str], kept: Path | None) -> int:
    for problem in problems[:PROBLEMS_SHOWN]:
        print(f"FAILED: {problem}", file=sys.stderr)
    if problems[PROBLEMS_SHOWN:]:
        print(f"… and {len(problems) - PROBLEMS_SHOWN} more", file=sys.stderr)
    if problems:
        return FAILED
    print(
        " Same results, byte for byte." + (f" The pictures: {kept / 'contact-sheet.png'}" if kept else " (--keep DIR leaves the pictures.)")
    )
    return 0
