"""An image becomes thumbnails, one branch for each size; an editor has a week to approve them.

Kill the process anywhere, start it again, and it goes on from there.
"""

import asyncio
import tempfile
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

from PIL import Image, ImageOps

from perdure import Engine, Retry, action, signal, workflow

approval = signal("approval", bool)


@action(retry=Retry(attempts=5, first="200ms", factor=2, cap="30s"), timeout="20s")
def download(url: str) -> bytes:
    with urlopen(url) as response:
        return bytes(response.read())


@action
def crop(image: bytes, size: int) -> bytes:
    with Image.open(BytesIO(image)) as picture, BytesIO() as file:
        ImageOps.fit(picture, (size, size)).save(file, "JPEG")
        return file.getvalue()


@action
def upload(image: bytes, path: str) -> str:
    Path(path).write_bytes(image)
    return Path(path).name


@workflow
async def thumbnails(url: str, folder: str, sizes: list[int]) -> list[str]:
    image = await download(url)

    async def one(size: int) -> str:
        return await upload(await crop(image, size), f"{folder}/{size}.jpg")

    names = await asyncio.gather(*(one(size) for size in sizes))
    async with asyncio.timeout(7 * 24 * 3600):
        return names if await approval.receive() else []


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Image.radial_gradient("L").save(original := Path(folder, "original.jpg"))
        async with Engine(f"sqlite:///{folder}/app.db") as engine:
            run = await engine.start(thumbnails.options(id="img-42"), original.as_uri(), folder, [60, 90, 120])
            await run.send(approval, True)
            print(await run.result())


asyncio.run(main())
