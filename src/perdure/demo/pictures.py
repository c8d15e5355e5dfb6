"""The pictures that the demo works on: JPEG files of the user's, or landscapes painted here, so that none need be shipped."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = (1600, 1067)
PICTURES_MAX = 6
Colour = tuple[int, int, int]


class Palette(NamedTuple):
    """Colours of one landscape: the sky from top to horizon, the sun, the hills from far to near."""

    name: str
    top: Colour
    horizon: Colour
    sun: Colour
    far: Colour
    near: Colour


PALETTES: Sequence[Palette] = (
    Palette("dawn", (46, 52, 104), (252, 176, 132), (255, 236, 190), (150, 110, 140), (38, 26, 58)),
    Palette("noon", (44, 120, 200), (206, 232, 246), (255, 252, 230), (128, 168, 176), (24, 72, 56)),
    Palette("dusk", (36, 18, 66), (244, 96, 74), (255, 206, 110), (140, 56, 92), (22, 12, 34)),
    Palette("night", (6, 10, 32), (38, 66, 118), (240, 244, 255), (34, 52, 92), (4, 8, 20)),
    Palette("autumn", (120, 150, 176), (246, 222, 178), (255, 244, 214), (190, 130, 84), (92, 38, 18)),
    Palette("winter", (132, 160, 192), (236, 240, 248), (255, 255, 250), (182, 198, 218), (66, 86, 112)),
)


def paint_all(folder: Path) -> list[Path]:
    """Paint one picture for each palette."""
    paths = []
    for number, palette in enumerate(PALETTES):
        path = folder / f"{palette.name}.jpg"
        paint(palette, Random(number)).save(path, quality=92)
        paths.append(path)
    return paths


def copy_all(source: Path, folder: Path) -> list[Path]:
    """Copy the first JPEG files of a folder, by name. Raises `FileNotFoundError` if it has none, `UnidentifiedImageError` for others."""
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))[:PICTURES_MAX]
    if not found:
        raise FileNotFoundError(f"{source} has no file that ends in .jpg or .jpeg")
    for path in found:
        with Image.open(path) as image:
            image.verify()
    return [Path(shutil.copyfile(path, folder / path.name)) for path in found]


def paint(palette: Palette, random: Random) -> Image.Image:
    """Paint a landscape: sky, sun with its glow, clouds or stars, five ranges of hills that darken towards the viewer, grain."""
    width, height = SIZE
    image = Image.linear_gradient("L").resize(SIZE)
    image = Image.composite(Image.new("RGB", SIZE, palette.horizon), Image.new("RGB", SIZE, palette.top), image)
    at = (random.randint(width // 5, 4 * width // 5), random.randint(height // 5, height // 2))
    image = _with_glow(image, at, palette)
    image = _with_stars(image, random) if sum(palette.top) < 120 else _with_clouds(image, random)
    for depth in range(5):
        image = _with_hills(image, palette, depth / 4, random)
    grain = Image.effect_noise(SIZE, 14).convert("RGB")
    return ImageChops.soft_light(image, grain)


def _with_glow(image: Image.Image, at: tuple[int, int], palette: Palette) -> Image.Image:
    for radius, strength in ((420, 70), (200, 90), (64, 255)):
        light = Image.new("L", SIZE)
        box = (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)
        ImageDraw.Draw(light).ellipse(box, fill=strength)
        light = light.filter(ImageFilter.GaussianBlur(2 if strength == 255 else radius / 3))
        image = Image.composite(Image.new("RGB", SIZE, palette.sun), image, light)
    return image


def _with_stars(image: Image.Image, random: Random) -> Image.Image:
    draw = ImageDraw.Draw(image)
    for _ in range(420):
        x, y = random.randrange(SIZE[0]), int(random.random() ** 1.6 * SIZE[1] * 0.7)
        light = random.randint(120, 255)
        draw.ellipse((x, y, x + random.choice((1, 1, 2, 3)), y + 1), fill=(light, light, 255))
    return image


def _with_clouds(image: Image.Image, random: Random) -> Image.Image:
    mask = Image.new("L", SIZE)
    draw = ImageDraw.Draw(mask)
    for _ in range(9):
        x, y = random.randrange(SIZE[0]), random.randrange(SIZE[1] // 2)
        for _ in range(14):
            left, top = x + random.randint(-170, 170), y + random.randint(-18, 18)
            draw.ellipse((left, top, left + random.randint(60, 190), top + random.randint(12, 38)), fill=random.randint(60, 130))
    return Image.composite(Image.new("RGB", SIZE, (255, 250, 244)), image, mask.filter(ImageFilter.GaussianBlur(14)))


def _with_hills(image: Image.Image, palette: Palette, depth: float, random: Random) -> Image.Image:
    width, height = SIZE
    level, swell = height * (0.52 + 0.4 * depth), height * (0.10 - 0.04 * depth)
    waves = [(random.uniform(0.6, 1.4) * 2**k, random.uniform(0, math.tau), swell / 1.7**k) for k in range(6)]
    ridge = [
        (x, level - sum(high * math.sin(x / width * math.tau * turns + shift) for turns, shift, high in waves))
        for x in range(0, width + 8, 8)
    ]
    colour = tuple(round(far + (near - far) * depth) for far, near in zip(palette.far, palette.near, strict=True))
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).polygon([*ridge, (width + 8, height), (0, height)], fill=255)
    return Image.composite(Image.new("RGB", SIZE, colour), image, mask.filter(ImageFilter.GaussianBlur(1)))
