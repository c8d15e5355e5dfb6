"""Recorded journals: exported once, replayed against the code of every later day."""

import asyncio
from pathlib import Path

import pytest

from perdure import Registry, action, workflow
from perdure.model.errors import CorruptJournal, InvalidOption, ReplayMismatch, RunNotFound
from perdure.testing import Environment, export, replay

GOLDEN = Path(__file__).parent / "journals"


@action(name="journals.download")
async def download(url: str) -> bytes:
    return url.encode() * 30


@action(name="journals.crop")
async def crop(image: bytes, size: int) -> bytes:
    return image[:size]


@workflow(name="journals.thumbnails")
async def thumbnails(url: str, sizes: list[int]) -> list[int]:
    image = await download(url)
    await asyncio.sleep(60)
    return [len(part) for part in await asyncio.gather(*(crop(image, size) for size in sizes))]


@workflow(name="journals.thumbnails", registry=Registry())
async def without_the_sleep(url: str, sizes: list[int]) -> list[int]:
    image = await download(url)
    return [len(part) for part in await asyncio.gather(*(crop(image, size) for size in sizes))]


@pytest.mark.covers("I31")
def test_a_golden_journal_replays() -> None:
    assert replay(thumbnails, GOLDEN / "thumbnails.json") == 4


@pytest.mark.covers("I31")
def test_code_that_disagrees_is_named_with_both_sides() -> None:
    with pytest.raises(ReplayMismatch, match=r"row 2.*a timer or sleep.*'journals\.crop'"):
        replay(without_the_sleep, GOLDEN / "thumbnails.json")


async def test_what_is_exported_replays_whether_the_run_has_ended_or_not(perdure_env: Environment, tmp_path: Path) -> None:
    run = await perdure_env.start(thumbnails, "u" * 3_000, [1, 2, 3])
    open_file = await export(perdure_env.engine, run, tmp_path / "open.json")
    assert '"blobs"' in open_file.read_text(), "the image is large enough to lie beside the journal"
    assert replay(thumbnails, open_file) == 2
    await perdure_env.advance("1m")
    ended_file = await export(perdure_env.engine, run.id, tmp_path / "ended.json")
    assert replay(thumbnails, ended_file) == 4
    with pytest.raises(ReplayMismatch):
        replay(without_the_sleep, open_file)


async def test_a_run_that_is_not_there_cannot_be_exported(perdure_env: Environment, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        await export(perdure_env.engine, "nobody", tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "{}", '{"perdure_journal": 1}', "no json", '{"perdure_journal": 99, "run": {}, "rows": []}'])
def test_a_file_that_is_no_journal_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CorruptJournal, match=r"bad\.json"):
        replay(thumbnails, tmp_path / "bad.json")


def test_the_journal_of_another_workflow_is_refused() -> None:
    @workflow
    async def something_else() -> None: ...

    with pytest.raises(InvalidOption, match=r"journals\.thumbnails"):
        replay(something_else, GOLDEN / "thumbnails.json")
