"""The demo keeps what it promises on its screen, and can say when it does not."""

import asyncio
import io
import os
import re
import select
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from urllib.request import Request, urlopen

import pytest
from PIL import Image
from rich.console import Console

from perdure import Engine, demo
from perdure.demo import pictures, story
from perdure.demo.board import RichScreen
from perdure.demo.progress import Ledger, Progress, Stage
from perdure.demo.screen import PlainScreen
from perdure.demo.server import PictureServer
from perdure.demo.verdict import INTERRUPTED, UNINTERRUPTED, Evidence, faults
from perdure.demo.workflow import registry, thumbnails
from perdure.insight import Entry
from perdure.model import fact as facts
from perdure.model.fact import AnyFact
from perdure.model.ids import CallName
from perdure.model.payload import Payload

COMMAND = [sys.executable, "-m", "perdure.demo", "--plain"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two small JPEG files: a quick demo."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("one", "two"):
        Image.radial_gradient("L").resize((320, 240)).convert("RGB").save(folder / f"{name}.jpg")
    return folder


@pytest.mark.covers("I2", "I3")
def test_a_killed_pipeline_comes_to_the_same_thumbnails_and_recomputes_no_outcome(images: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    command = [*COMMAND, "--images", str(images), "--keep", str(kept), "--kills", "2"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=55, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert result.stdout.count("was killed (SIGKILL)") == 2
    sizes = {path.name: size_of(path) for path in (kept / INTERRUPTED / "one-191").glob("*.jpg")}
    assert sizes == {f"{size:03}.jpg": (size, size) for size in range(10, 201)}
    assert sorted(path.name for path in (kept / INTERRUPTED / "two").iterdir()) == ["060.jpg", "090.jpg", "120.jpg", "list.json"]
    assert size_of(kept / "contact-sheet.png")[0] == 2000
    # The last attempt that anybody made of a call is the one whose outcome the journal has: none came after it.
    assert noted_attempts(kept) == asyncio.run(recorded_attempts(kept))
    for process in map(int, re.findall(r"engine (\d+)", result.stdout)):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def noted_attempts(kept: Path) -> dict[str, int]:
    """Give the last attempt of each call that an engine began."""
    last: dict[str, int] = {}
    for line in (kept / f"{INTERRUPTED}.ledger").read_text().splitlines():
        _, _, key, number = line.split("\t")
        last[key] = max(last.get(key, 0), int(number))
    return last


async def recorded_attempts(kept: Path) -> dict[str, int]:
    """Give the attempt of each call whose outcome was recorded."""
    found: dict[str, int] = {}
    async with Engine(f"sqlite:///{kept / f'{INTERRUPTED}.db'}", registry=registry, is_client=True) as client:
        for row in await client.list():
            async for entry in client.get(row.id, thumbnails).journal():
                if isinstance(entry.fact, facts.ActionCompleted):
                    key = f"{row.id}#{row.base}#{entry.fact.call}"
                    assert key not in found
                    found[key] = entry.fact.attempt
    return found


def test_a_demo_that_is_told_to_end_takes_its_engine_and_its_files_along(images: Path, tmp_path: Path) -> None:
    with running(images, tmp_path) as (process, engine):
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == demo.INTERRUPTED
        with pytest.raises(ProcessLookupError):
            os.kill(engine, 0)
        assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open to wait for a process that is not a child")
def test_the_engine_of_a_demo_that_was_killed_ends_by_itself(images: Path, tmp_path: Path) -> None:
    with running(images, tmp_path) as (process, engine):
        descriptor = os.pidfd_open(engine)
        process.kill()
        process.wait()
        ended, _, _ = select.select([descriptor], [], [], 40)
        os.close(descriptor)
        assert ended


@contextmanager
def running(images: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give a demo and its first engine, once it is up."""
    temporary = folder / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [*COMMAND, "--images", str(images)],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            up = next(match for line in process.stdout if (match := re.search(r"engine (\d+) is up", line)))
            yield process, int(up[1])
        finally:
            process.kill()


def test_what_differs_is_told_and_makes_the_demo_fail(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def tell(*_: object) -> list[str]:
        return ["dawn/060.jpg differs between the two albums", *map(str, range(99))]

    monkeypatch.setattr(story, "tell", tell)
    assert demo.main(["--images", str(images), "--plain"]) == demo.FAILED
    shown = capsys.readouterr().err.splitlines()
    assert (shown[0], shown[-1], len(shown)) == ("FAILED: dawn/060.jpg differs between the two albums", "… and 90 more", 11)


def test_an_error_inside_the_demo_makes_it_fail_with_its_text(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def tell(*_: object) -> list[str]:
        raise TimeoutError("it never ended")

    monkeypatch.setattr(story, "tell", tell)
    assert demo.main(["--images", str(images), "--plain"]) == demo.FAILED
    assert "TimeoutError: it never ended" in capsys.readouterr().err


@pytest.mark.parametrize("problem", ["no such folder", "no pictures", "not a picture"])
def test_pictures_that_cannot_be_used_are_refused(problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    if problem != "no such folder":
        folder.mkdir()
    if problem == "not a picture":
        (folder / "text.jpg").write_text("no picture")
    assert demo.main(["--images", str(folder), "--plain"]) == demo.MISUSED
    assert "images" in capsys.readouterr().err


def test_a_folder_with_things_of_others_is_not_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("all my work")
    assert demo.main(["--keep", str(tmp_path)]) == demo.MISUSED
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "all my work"


def test_the_painted_pictures_are_jpeg_files(tmp_path: Path) -> None:
    path = tmp_path / "dawn.jpg"
    pictures.paint(pictures.PALETTES[0], Random(0)).save(path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", pictures.SIZE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PictureServer]:
    (tmp_path / "album").mkdir()
    with PictureServer(tmp_path / "album", pause_s=0) as found:
        yield found


def put(url: str, content: bytes, key: str) -> int:
    try:
        with urlopen(Request(url, content, {"Idempotency-Key": key} if key else {}, method="PUT"), timeout=20) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_server_recognises_a_repeated_upload_by_its_key(server: PictureServer) -> None:
    assert [put(server.url("a.jpg"), b"1", "k"), put(server.url("a.jpg"), b"1", "k")] == [201, 200]
    assert [put(server.url("a.jpg"), b"2", "k"), put(server.url("b.jpg"), b"1", "k")] == [409, 409]
    assert (server.uploads, server.conflicts, (server.folder / "a.jpg").read_bytes()) == ({"k": 4}, {"k"}, b"1")


def test_the_server_stays_in_its_folder_and_wants_a_key(server: PictureServer, tmp_path: Path) -> None:
    assert [put(server.url("..", "x.jpg"), b"1", "k"), put(server.url("x.jpg"), b"1", "")] == [400, 400]
    assert not (tmp_path / "x.jpg").exists()


def progress_of(*learned: AnyFact | tuple[str, int] | None, sizes: Sequence[int] = (10, 20)) -> Progress:
    """Give the progress after facts, attempts (call, life) and kills (``None``)."""
    found = Progress(None, "dawn", sizes)  # type: ignore[arg-type]
    for entry in learned:
        if entry is None:
            found.life += 1
        elif isinstance(entry, tuple):
            found.note_attempt(CallName(entry[0]), entry[1])
        else:
            found.apply(Entry(1, datetime.now(UTC), entry))
    return found


def scheduled(call: str, action: str) -> facts.ActionScheduled:
    return facts.ActionScheduled(CallName(call), action)


def completed(call: str) -> facts.ActionCompleted:
    return facts.ActionCompleted(CallName(call), Payload())


CROPS = (scheduled("1/1", "crop"), scheduled("2/1", "crop"))
UPLOAD = (("1/1", 0), completed("1/1"), scheduled("1/2", "upload"))


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        ((), (Stage.WAITING, Stage.WAITING)),
        (CROPS, (Stage.WAITING, Stage.WAITING)),
        ((*CROPS, ("1/1", 0)), (Stage.RUNNING, Stage.WAITING)),
        ((*CROPS, *UPLOAD), (Stage.CROPPED, Stage.WAITING)),
        ((*CROPS, *UPLOAD, ("1/2", 0)), (Stage.RUNNING, Stage.WAITING)),
        ((*CROPS, *UPLOAD, ("1/2", 0), completed("1/2")), (Stage.DONE, Stage.WAITING)),
        ((*CROPS, *UPLOAD, ("1/2", 0), None), (Stage.CUT, Stage.WAITING)),
        ((*CROPS, *UPLOAD, ("1/2", 0), completed("1/2"), None), (Stage.KEPT, Stage.WAITING)),
        ((*CROPS, *UPLOAD, ("1/2", 0), None, ("1/2", 1), completed("1/2")), (Stage.AGAIN, Stage.WAITING)),
        ((*CROPS, *UPLOAD, None, ("1/2", 1), completed("1/2")), (Stage.DONE, Stage.WAITING)),
    ],
)
def test_a_branch_stands_where_journal_and_ledger_say(
    learned: Sequence[AnyFact | tuple[str, int] | None], expected: tuple[Stage, Stage]
) -> None:
    assert tuple(progress_of(*learned).stages()) == expected


def test_a_recorded_outcome_that_is_computed_again_is_noticed() -> None:
    fine = progress_of(*CROPS, *UPLOAD, None)
    bad = progress_of(*CROPS, *UPLOAD, None, ("1/1", 1))
    assert [call.was_recomputed for call in fine.calls.values()] == [False, False, False]
    assert [call.was_recomputed for call in bad.calls.values()] == [True, False, False]


def evidence(folder: Path, server: PictureServer, **changes: object) -> Evidence:
    for album in (UNINTERRUPTED, INTERRUPTED):
        (folder / album).mkdir(exist_ok=True)
        (folder / album / "060.jpg").write_bytes(b"1")
    known: dict[str, object] = {
        "folder": folder,
        "board": [progress_of(*CROPS, *UPLOAD, None)],
        "server": server,
        "results": [("dawn", ["http://a/060.jpg"], ["http://b/060.jpg"])],
        "kills": 1,
        "seconds": 1.0,
        "store": folder / "x.db",
    }
    return Evidence(**(known | changes))  # type: ignore[arg-type]


def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path, server: PictureServer) -> None:
    assert list(faults(evidence(tmp_path, server))) == []


def test_every_fault_is_found(tmp_path: Path, server: PictureServer) -> None:
    assert "never killed" in next(faults(evidence(tmp_path, server, kills=0)))
    assert "result differs" in next(faults(evidence(tmp_path, server, results=[("dawn", ["a/1.jpg"], ["a/2.jpg"])])))
    assert "result differs" in next(faults(evidence(tmp_path, server, results=[("dawn", ["a/1.jpg"], [])])))
    recomputed = progress_of(*CROPS, *UPLOAD, None, ("1/1", 1))
    assert "1 calls were attempted" in next(faults(evidence(tmp_path, server, board=[recomputed])))
    server.conflicts.add("k")
    assert "different content" in next(faults(evidence(tmp_path, server)))
    found = evidence(tmp_path, server)
    (tmp_path / INTERRUPTED / "060.jpg").write_bytes(b"2")
    assert "060.jpg differs" in next(faults(found))
    (tmp_path / INTERRUPTED / "060.jpg").unlink()
    assert "only one" in next(faults(found))


def test_the_ledger_leaves_a_torn_line_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    assert list(ledger.news()) == []
    path.write_text("7\tcrop\trun#1#1/1\t1\n8\tcrop\tru")
    assert list(ledger.news()) == [(7, "run", "1/1")]
    path.write_text(path.read_text() + "n#1#2/1\t1\n")
    assert list(ledger.news()) == [(8, "run", "2/1")]


BOARD = (*CROPS, *UPLOAD, ("1/2", 0), completed("1/2"), ("2/1", 0))


def test_the_board_has_a_cell_for_each_branch() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, legacy_windows=False, color_system=None)
    screen = RichScreen(console)
    screen.show([progress_of(*BOARD, sizes=range(20))], is_dead=True)
    screen.conclude("numbers", [("kills", "1")])
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(part in text for part in ("dawn  1 of 20", "■ ✗ · ·", "1 done", "1 cut off by the kill", "18 waiting", "kills"))


def test_without_a_terminal_the_board_is_a_line_of_counts() -> None:
    lines: list[str] = []
    screen = PlainScreen(lines.append, clock=lambda: 5.0)
    screen.show([progress_of(*BOARD)])
    screen.show([progress_of(*BOARD)])
    assert [line.strip() for line in lines] == ["0.0 s      1 done, 1 running"]
