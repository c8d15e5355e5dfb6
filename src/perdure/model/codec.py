"""Values to bytes and back: JSON by default, ``bytes`` as they are, then any further codecs."""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from perdure.model.errors import InvalidOption, InvalidValue, PayloadTooLarge
from perdure.model.payload import EMPTY, EMPTY_CONTENT, Content


class Codec(Protocol):
    """Changes bytes on their way to the store, such as compression or encryption."""

    @property
    def name(self) -> str:
        """Names the codec in every payload it made; letters, digits and ``-``; never changes its meaning."""
        ...

    def encode(self, data: bytes) -> bytes | None:
        """Give the bytes to store, or ``None`` to leave this payload as it is."""
        ...

    def decode(self, data: bytes) -> bytes:
        """Give back exactly what `encode` was given, for any bytes it ever made. Raises `InvalidValue`."""
        ...


class Serializer:
    """Encodes and decodes values with a chain of codecs. Payloads of codecs no longer in ``codecs`` for writing go to ``known``."""

    def __init__(self, codecs: Sequence[Codec] = (), known: Sequence[Codec] = (), bytes_max: int = 64 * 1024 * 1024) -> None:
        self._codecs = tuple(codecs)
        self._known = _by_name((*known, *codecs))
        self._encode = msgspec.json.Encoder(enc_hook=_refuse).encode
        self._decoders: dict[Any, Any] = {}
        self._bytes_max = bytes_max

    def encode(self, value: Any, what: str = "a value", of: str = "") -> Content:
        """Give the content of a value, called ``what of`` in errors. Raises `PayloadTooLarge`, `InvalidValue` if JSON cannot hold it."""
        if type(value) is bytes:
            content = Content("bytes", value)
        elif value is EMPTY:
            return EMPTY_CONTENT
        else:
            try:
                content = Content("json", self._encode(value))
            except (TypeError, ValueError, RecursionError, NotImplementedError, msgspec.MsgspecError) as error:
                raise InvalidValue(what=_named(what, of), problem=str(error)) from error
        if len(content.data) > self._bytes_max:
            raise PayloadTooLarge(what=_named(what, of), size=len(content.data), limit=self._bytes_max)
        return self._through_codecs(content) if self._codecs else content

    def seal(self, content: Content, what: str = "a value") -> Content:
        """Give a content that no codec has changed yet as `encode` gives it. Raises `PayloadTooLarge`."""
        if len(content.data) > self._bytes_max:
            raise PayloadTooLarge(what=what, size=len(content.data), limit=self._bytes_max)
        return self._through_codecs(content) if self._codecs and content.codec != EMPTY_CONTENT.codec else content

    def _through_codecs(self, content: Content) -> Content:
        name, data = content.codec, content.data
        for codec in self._codecs:
            changed = codec.encode(data)
            if changed is not None:
                name, data = f"{name}+{codec.name}", changed
        return Content(name, data)

    def digest(self, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
        """Give a hash of arguments before any codec: equal values, equal digest, whatever key they are encrypted with."""
        hash = sha256()
        for value in (*args, *(part for pair in sorted(kwargs.items()) for part in pair)):
            data = value if type(value) is bytes else EMPTY_CONTENT.data if value is EMPTY else self.encode_plain(value)
            hash.update(len(data).to_bytes(8, "big"))
            hash.update(data)
        return hash.hexdigest()

    def encode_plain(self, value: Any) -> bytes:
        """Give a value as JSON, before any codec. Raises `InvalidValue`."""
        try:
            return self._encode(value)
        except (TypeError, ValueError, RecursionError, NotImplementedError, msgspec.MsgspecError) as error:
            raise InvalidValue(what="a value", problem=str(error)) from error

    def decode(self, content: Content, wanted: Any = Any, what: str = "a value", of: str = "") -> Any:
        """Give the value as the type ``wanted``. Raises `InvalidValue` if the content is not of that type or cannot be read."""
        if content.codec == "json":
            decode = self._decoders.get(wanted)
            if decode is None:
                decode = self._decoders[wanted] = _decoder(wanted).decode
            try:
                return decode(content.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NotImplementedError) as error:
                raise InvalidValue(what=_named(what, of), problem=str(error)) from error
        return self._decode_other(content, wanted, _named(what, of))

    def _decode_other(self, content: Content, wanted: Any, what: str) -> Any:
        if content.codec == EMPTY_CONTENT.codec:
            return EMPTY
        data = self.plain(content, what)
        if content.codec.partition("+")[0] == "bytes":
            return self._convert(data, wanted, what)
        return self.decode(Content("json", data), wanted, what)

    def plain(self, content: Content, what: str = "a value") -> bytes:
        """Give the bytes of a content before any codec: those of equal values are equal. Raises `InvalidValue`."""
        data = content.data
        for name in reversed(content.codec.split("+")[1:]):
            codec = self._known.get(name)
            if codec is None:
                problem = f"it was written with the codec {name!r}, which this engine was not given (codecs=… or known_codecs=…)"
                raise InvalidValue(f"{what} cannot be read: {problem}.", what=what, problem=problem)
            data = codec.decode(data)
        return data

    def _convert(self, data: bytes, wanted: Any, what: str) -> Any:
        if wanted is Any or wanted is bytes:
            return data
        try:
            return msgspec.convert(data, wanted)
        except msgspec.ValidationError as error:
            raise InvalidValue(what=what, problem=str(error)) from error


def _by_name(codecs: Sequence[Codec]) -> dict[str, Codec]:
    found: dict[str, Codec] = {}
    for codec in codecs:
        if not re.fullmatch(r"[A-Za-z0-9-]+", codec.name):
            raise InvalidOption(option="a codec's name", found=repr(codec.name), expected="letters, digits and '-'")
        if found.setdefault(codec.name, codec) is not codec:
            raise InvalidOption(
                option="codecs and known_codecs",
                found=f"two codecs named {codec.name!r}",
                expected="one for each name, that reads all that was ever written under it",
            )
    return found


def _named(what: str, of: str) -> str:
    return f"{what} of {of}" if of else what


def _decoder(wanted: Any) -> Any:
    try:
        return msgspec.json.Decoder(wanted)
    except TypeError as error:
        raise InvalidValue(what=f"the declared type {wanted!r}", problem=str(error)) from error


def _refuse(value: Any) -> Any:
    found = type(value)
    raise NotImplementedError(
        f"{found.__module__}.{found.__qualname__} is no plain value; use dataclasses, msgspec.Struct, TypedDict, lists, dicts, str, "
        "numbers, bytes, datetime, Enum, UUID or Decimal, or give the engine a codec"
    )
