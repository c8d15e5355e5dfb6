"""What a process and the worker that started it say to each other: MessagePack, each with its length before it. Never a pickled object.

Values are contents that no codec has changed: keys stay where they are.
"""

import struct
from typing import Final

import msgspec
from msgspec import Struct

from perdure.model.payload import Content

HEAD: Final = struct.Struct(">Q")


class Order(Struct, frozen=True, tag=True):
    """Perform this. ``module`` and ``file`` say where the function is: ``file`` only for a program that is no module."""

    module: str
    file: str
    function: str
    action: str
    args: tuple[Content, ...]
    kwargs: dict[str, Content]
    run: str
    base: int
    call: str
    number: int
    sequence: int
    end_us: int | None
    details: Content | None


class Stop(Struct, frozen=True, tag=True):
    """Nobody waits for what is being performed."""


class Progress(Struct, frozen=True, tag=True):
    """The action has reported this."""

    details: Content


class Ended(Struct, frozen=True, tag=True):
    """The action has ended. ``failure``: as JSON. Without it and ``content``, the outcome comes later."""

    content: Content | None = None
    failure: bytes | None = None
    error_types: tuple[str, ...] = ()
    retry_after_us: int | None = None


_to_process: msgspec.msgpack.Decoder[Order | Stop] = msgspec.msgpack.Decoder(Order | Stop)
_from_process: msgspec.msgpack.Decoder[Progress | Ended] = msgspec.msgpack.Decoder(Progress | Ended)


def frame(message: Order | Stop | Progress | Ended) -> bytes:
    """Give the message as it travels."""
    body = msgspec.msgpack.encode(message)
    return HEAD.pack(len(body)) + body


def read_order(body: bytes) -> Order | Stop:
    """Give what the worker says."""
    return _to_process.decode(body)


def read_word(body: bytes) -> Progress | Ended:
    """Give what the process says."""
    return _from_process.decode(body)
