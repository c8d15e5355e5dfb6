"""What a release sent is read by all that come after it; the reference says what the code does."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from msgspec import Raw, json

from perdure.wire.avro import fingerprint_of
from perdure.wire.avro_schema import schemas
from perdure.wire.encoding import JSON, decode, encode
from perdure.wire.messages import AnyWireMessage
from perdure.wire.schema import message_schemas
from tests.wire import files, values
from tests.wire.samples import SAMPLES

HOW = "Run 'python -m tests.wire.files' and commit what it writes; files of a version that is released are never changed."
VALIDATORS = {kind: jsonschema_rs.validator_for(schema) for kind, schema in message_schemas().items()}


def of_version(name: str) -> dict[str, list[Path]]:
    """The golden files of a version by the sample that they hold: one for each encoding."""
    found: dict[str, list[Path]] = {}
    for path in sorted((files.GOLDEN / name).iterdir()):
        if path.suffix != ".avsc":
            found.setdefault(path.name.partition(".")[0], []).append(path)
    return found


GOLDEN = [(folder.name, sample, paths) for folder in files.versions() for sample, paths in of_version(folder.name).items()]


def read(path: Path) -> AnyWireMessage:
    return decode(path.read_bytes(), files.CONTENT_TYPES[path.name[path.name.index(".") :]])


def is_within(part: Any, whole: Any) -> bool:
    """Tell whether nothing of ``part`` is missing in ``whole``."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and is_within(entry, whole[name]) for name, entry in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(is_within, part, whole))
    return bool(part == whole)


@pytest.mark.covers("I6")
@pytest.mark.parametrize(("release", "sample", "paths"), GOLDEN, ids=[f"{release}-{sample}" for release, sample, _ in GOLDEN])
def test_messages_of_every_release_are_read_with_all_that_they_say(release: str, sample: str, paths: list[Path]) -> None:
    assert len(paths) == len(files.CONTENT_TYPES), f"{release}/{sample} is not there in every encoding. {HOW}"
    message = read(paths[0])
    assert [read(path) for path in paths] == [message] * len(paths)
    said = json.decode((files.GOLDEN / release / f"{sample}.json").read_bytes())
    assert is_within(said, json.decode(encode(message))), f"{release}/{sample} says more than this version reads"


def test_the_golden_files_of_the_version_at_hand_hold_every_message_as_it_is() -> None:
    name = version("perdure")
    assert (files.GOLDEN / name).is_dir(), f"Version {name} has no golden files. {HOW}"
    assert {path.name for path in (files.GOLDEN / name).iterdir()} == {file.partition("/")[2] for file in files.golden_files(name)}, HOW
    for file, text in files.golden_files(name).items():
        assert (files.GOLDEN / file).read_bytes() == text, f"{file} is not what this version writes. {HOW}"
    assert {type(message) for message in SAMPLES.values()} == {getattr(values.messages, kind) for kind in schemas()}


def test_golden_files_are_not_changed_and_none_is_taken_away() -> None:
    assert files.SUMS.read_text(encoding="utf-8") == files.sums(), HOW


def test_avro_schemas_of_earlier_releases_are_known() -> None:
    own = {fingerprint_of(schema) for schema in schemas().values()}
    for path in files.GOLDEN.glob("*/*.avsc"):
        found = fingerprint_of(json.decode(path.read_bytes()))
        assert found in own or (files.RELEASED / f"{found}.avsc").is_file(), f"{path} is not known any more. {HOW}"


def test_a_version_is_released_when_the_changelog_has_it() -> None:
    assert files.is_released("Unreleased")
    assert not files.is_released("99.0.0")


def test_the_reference_has_the_schema_of_every_message_as_it_is() -> None:
    assert {path.name: path.read_bytes() for path in files.REFERENCE.glob("*.schema.json")} == files.reference_files(), HOW


@pytest.mark.parametrize("kind", sorted(message_schemas()))
def test_the_schemas_of_messages_are_json_schema(kind: str) -> None:
    jsonschema_rs.meta.validate(message_schemas()[kind])


@given(values.all_messages)
def test_what_we_write_fits_the_schema_and_may_have_more_members(message: AnyWireMessage) -> None:
    said = json.decode(encode(message))
    VALIDATORS[said["type"]].validate(said)
    VALIDATORS[said["type"]].validate({**said, "later": {"x": [1]}})


@pytest.mark.parametrize("kind", sorted(message_schemas()))
def test_a_message_that_the_schema_refuses_is_refused_by_the_code_too(kind: str) -> None:
    sample = json.decode(encode(SAMPLES[kind if kind in SAMPLES else f"{kind}-data"]))
    for name in message_schemas()[kind]["required"]:
        without = {key: entry for key, entry in sample.items() if key != name}
        assert not VALIDATORS[kind].is_valid(without)
        with pytest.raises(values.InvalidMessage):
            decode(json.encode(without), JSON)


def test_a_value_may_be_any_json() -> None:
    assert decode(b'{"type":"outcome","v":1,"id":"i","key":"k","worker":"w","status":"data","value":[null]}').value == Raw(b"[null]")  # type: ignore[union-attr]
