"""The process that the demo runs: one picture becomes many thumbnails."""

import asyncio
import json
import logging
from io import BytesIO
from urllib.request import Request, urlopen

from PIL import Image, ImageOps

import perdure
from perdure import Registry, Retry, action, workflow

registry = Registry()
ledger = logging.getLogger("perdure.demo.ledger")
"""Every attempt is noted here as it begins, so that the demo can tell what was made again from what was not."""

PATIENT = Retry(attempts=5, first="200ms", cap="2s")
TIMEOUT_S = 20


@action(retry=PATIENT, timeout="20s", registry=registry)
async def download(url: str) -> bytes:
    """Give the file."""
    return await asyncio.to_thread(_request, "download", Request(url))


@action(registry=registry)
def crop(image: bytes, size: int) -> bytes:
    """Give the middle of the picture as a square JPEG."""
    _note("crop")
    with Image.open(BytesIO(image)) as picture, BytesIO() as file:
        ImageOps.fit(picture.convert("RGB"), (size, size)).save(file, "JPEG", quality=90)
        return file.getvalue()


@action(retry=PATIENT, timeout="20s", registry=registry)
async def upload(content: bytes, url: str) -> str:
    """The server has the file; it is told the idempotency key, so that it knows a repeated upload from a new one."""
    headers: dict[str, str] = {"Idempotency-Key": perdure.attempt().key}
    await asyncio.to_thread(_request, "upload", Request(url, content, headers, method="PUT"))
    return url


@workflow(registry=registry)
async def thumbnails(picture: str, album: str, sizes: list[int]) -> list[str]:
    """Download a picture, crop and upload it in one branch for each size, save the list of what was uploaded."""
    image = await download(picture)

    async def one(size: int) -> str:
        return await upload(await crop(image, size), f"{album}/{size:03}.jpg")

    urls = await asyncio.gather(*(one(size) for size in sizes))
    await upload(json.dumps([url.rpartition("/")[2] for url in urls]).encode(), f"{album}/list.json")
    return urls


def _note(name: str) -> None:
    attempt = perdure.attempt()
    ledger.info("%s\t%s\t%d", name, attempt.key, attempt.number)


def _request(name: str, request: Request) -> bytes:
    # Noted here, in the thread: an attempt that still waits for its turn has had no effect.
    _note(name)
    with urlopen(request, timeout=TIMEOUT_S) as response:
        body: bytes = response.read()
        return body
