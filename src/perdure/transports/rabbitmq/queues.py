"""Where the broker is, and which queue stands for an address."""

import hashlib
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from perdure.ports.transport import DEAD, DELIVERIES_MAX, worker_address
from perdure.transports.place import LETTERS_KEEP_S, LETTERS_MAX, Options, check_scheme

_NAME_BYTES_MAX: Final = 255
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:,/")
_UNUSED_MS_MAX: Final = 300_000
_DELIVERIES_NO_LIMIT: Final = 1_000_000_000
_WORKERS: Final = worker_address("")


class Place(Struct, frozen=True, kw_only=True):
    """``url`` is the client's, with secrets; ``name`` is for people, without."""

    url: str
    name: str
    prefix: str
    packet_bytes_max: int
    packets_max: int
    queues_expire_s: int
    letters_max: int
    letters_keep_s: int
    connect_timeout_s: float
    answer_timeout_s: float


class Queue(Struct, frozen=True):
    """A queue as it is declared. ``is_lasting``: its packets survive a restart of the broker. ``is_kept``: one that is there with other
    arguments is used as it is.
    """

    name: str
    arguments: dict[str, Any]
    is_lasting: bool
    is_kept: bool = False


def place_of(url: str) -> Place:
    """Read a URL; raises `InvalidOption`."""
    check_scheme(url, "amqp", "amqps")
    options = Options(url)
    theirs = {"heartbeat": str(options.number("heartbeat", 20))}
    theirs |= options.rest("cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl", "auth", "name")
    place = Place(
        url=urlunsplit(urlsplit(url)._replace(query=urlencode(theirs))),
        name=options.name,
        prefix=options.prefix(),
        packet_bytes_max=options.number("packet_bytes_max", 16 * 1024 * 1024),
        packets_max=options.number("packets_max", 1_000_000),
        queues_expire_s=options.number("queues_expire", 0, least=0),
        letters_max=options.number("letters_max", LETTERS_MAX),
        letters_keep_s=options.number("letters_keep", LETTERS_KEEP_S),
        connect_timeout_s=options.seconds("connect_timeout", 10),
        answer_timeout_s=options.seconds("answer_timeout", 10),
    )
    options.done()
    return place


def queue_of(place: Place, address: str) -> Queue:
    """Give the queue of an address."""
    name = queue_name(place.prefix, address)
    if address.startswith(_WORKERS):
        # What is said to a worker that has gone is for nobody.
        return Queue(name, {"x-expires": _UNUSED_MS_MAX, "x-max-length": place.packets_max, "x-overflow": "reject-publish"}, False)
    arguments = {"x-queue-type": "quorum", "x-max-length": place.packets_max, "x-overflow": "reject-publish"}
    if place.queues_expire_s:
        arguments["x-expires"] = 1_000 * place.queues_expire_s
    if address == DEAD:
        # A letter must always find room, or the packet would come back again and again; the oldest make it.
        arguments |= {"x-max-length": place.letters_max, "x-overflow": "drop-head", "x-message-ttl": 1_000 * place.letters_keep_s}
        # RabbitMQ 4 drops what was delivered 20 times, if it is not told otherwise.
        arguments |= {"x-delivery-limit": _DELIVERIES_NO_LIMIT}
        # Queues of earlier versions had no such bounds, and must not keep everybody out: a policy of the broker gives them some.
        return Queue(name, arguments, True, is_kept=True)
    # The second net: handlings bury what comes too often themselves, with the reason.
    arguments |= {"x-delivery-limit": 2 * DELIVERIES_MAX, "x-dead-letter-strategy": "at-least-once"}
    arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue_name(place.prefix, DEAD)}
    return Queue(name, arguments, True)


def address_of(queue: str) -> str:
    """Give the address of a queue by its name; empty where the name does not tell it."""
    _, colon, escaped = queue.partition(":")
    if not colon or "#" in escaped:
        return ""
    return unquote(escaped.replace("@", "%"), errors="surrogatepass")


def queue_name(prefix: str, address: str) -> str:
    """Give the name of an address' queue: ``PREFIX:ADDRESS``, its end a hash where that is too long for AMQP.

    Of a name the client takes no other characters than these; all others stand as ``@`` and two hexadecimal digits for each byte.
    """
    escaped = "".join(chr(byte) if byte in _PLAIN else f"@{byte:02x}" for byte in address.encode("utf-8", "surrogatepass"))
    name = f"{prefix}:{escaped}"
    if len(name) <= _NAME_BYTES_MAX:
        return name
    return f"{name[: _NAME_BYTES_MAX - 65]}#{hashlib.sha256(name.encode()).hexdigest()}"
