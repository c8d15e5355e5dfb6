"""The files that are made from the messages: their schemas in the reference, and golden files of each release.

``python -m tests.wire.files`` writes both for the version at hand. Golden files of a version that the changelog has as released are never
written again: what it sent may still lie in a queue. Before a release: raise the version, run it, and commit what it wrote.
"""

import re
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from msgspec import json

from perdure.wire.avro import fingerprint_of
from perdure.wire.avro_schema import schemas
from perdure.wire.encoding import AVRO, AVRO_SINGLE, JSON, encode
from perdure.wire.schema import message_schemas
from tests.wire.samples import SAMPLES

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "wire" / "golden"
SUMS = GOLDEN / "SHA256SUMS"
REFERENCE = ROOT / "docs" / "reference" / "wire"
RELEASED = ROOT / "src" / "perdure" / "wire" / "released"
CONTENT_TYPES = {".json": JSON, ".single.avro": AVRO_SINGLE, ".avro": AVRO}


def is_released(name: str) -> bool:
    """Tell whether the changelog has a section of that version."""
    return re.search(rf"^## \[?{re.escape(name)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE) is not None


def versions() -> list[Path]:
    """Give the folders of golden files, one for each release."""
    return sorted(path for path in GOLDEN.iterdir() if path.is_dir())


def golden_files(name: str) -> dict[str, bytes]:
    """Give what the golden files of the version at hand hold, by their path under the folder of all."""
    files = {
        f"{name}/{sample}{suffix}": encode(message, content_type)
        for sample, message in SAMPLES.items()
        for suffix, content_type in CONTENT_TYPES.items()
    }
    return files | {f"{name}/{kind.lower()}.avsc": _laid_out(schema) for kind, schema in schemas().items()}


def reference_files() -> dict[str, bytes]:
    """Give the schemas of the messages as the reference has them, by file name."""
    return {f"{kind}.schema.json": _laid_out(schema) for kind, schema in message_schemas().items()}


def sums() -> str:
    """Give the digest of each golden file as it is."""
    paths = sorted(path for folder in versions() for path in folder.iterdir())
    return "".join(f"{sha256(path.read_bytes()).hexdigest()}  {path.relative_to(GOLDEN).as_posix()}\n" for path in paths)


def write() -> None:
    """The files of the version at hand are there, and Avro schemas that only older releases wrote are known to this one."""
    name = version("perdure")
    _replace(REFERENCE, "*.schema.json", {REFERENCE / file: text for file, text in reference_files().items()})
    if is_released(name):
        sys.exit(f"The golden files of {name}, which is released, stay as they are. Raise the version first.")
    (GOLDEN / name).mkdir(parents=True, exist_ok=True)
    _replace(GOLDEN / name, "*", {GOLDEN / file: text for file, text in golden_files(name).items()})
    own = {fingerprint_of(schema) for schema in schemas().values()}
    old = {fingerprint_of(json.decode(path.read_bytes())): path.read_bytes() for folder in versions() for path in folder.glob("*.avsc")}
    RELEASED.mkdir(exist_ok=True)
    _replace(RELEASED, "*.avsc", {RELEASED / f"{found}.avsc": text for found, text in old.items() if found not in own})
    SUMS.write_text(sums(), encoding="utf-8")


def _replace(folder: Path, pattern: str, texts: dict[Path, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.glob(pattern)) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.write_bytes(text)


def _laid_out(value: object) -> bytes:
    return json.format(json.encode(value), indent=2) + b"\n"


if __name__ == "__main__":
    write()
