"""Where the server is, and which stream, subject and consumer stand for an address."""

import hashlib
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from perdure.ports.transport import DEAD, worker_address
from perdure.transports.place import LETTERS_KEEP_S, LETTERS_MAX, Options, check_scheme

_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_TOKEN_MAX: Final = 160
ACK_WAIT_USUAL_S: Final = 10.0
_WORKERS: Final = worker_address("")
_WORKER_UNUSED_S: Final = 300.0
_WAITING_MAX: Final = 8_192


class Place(Struct, frozen=True, kw_only=True):
    """``servers``, ``user``, ``password`` and ``token`` are the client's; ``name`` is for people, without secrets."""

    servers: tuple[str, ...]
    name: str
    user: str | None
    password: str | None
    token: str | None
    is_tls: bool
    credentials: str
    nkey: str
    cafile: str
    certfile: str
    keyfile: str
    prefix: str
    storage: str
    replicas: int
    packets_max: int
    dedupe_s: float
    letters_max: int
    letters_keep_s: int
    ack_wait_s: float
    connect_timeout_s: float
    answer_timeout_s: float


class Lane(Struct, frozen=True):
    """What stands for an address. ``is_worker``: one of many in a stream, for one worker."""

    stream: str
    subject: str
    consumer: str
    is_worker: bool


def place_of(url: str) -> Place:
    """Read a URL, whose host may be several; raises `InvalidOption`."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    check_scheme(_with_one_host(url, hosts), "nats", "tls")
    options = Options(url)
    user, colon, password = credentials.partition(":")
    place = Place(
        servers=tuple(f"{parts.scheme}://{host}" for host in hosts.split(",")),
        name=options.name,
        user=unquote(user) if colon else None,
        password=unquote(password) if colon else None,
        token=unquote(user) if user and not colon else None,
        is_tls=parts.scheme == "tls",
        credentials=options.text("credentials", ""),
        nkey=options.text("nkey", ""),
        cafile=options.text("cafile", ""),
        certfile=options.text("certfile", ""),
        keyfile=options.text("keyfile", ""),
        prefix=options.prefix(),
        storage=options.choice("storage", "file", "file", "memory"),
        replicas=options.number("replicas", 1),
        packets_max=options.number("packets_max", 1_000_000),
        dedupe_s=options.seconds("dedupe", 20),
        letters_max=options.number("letters_max", LETTERS_MAX),
        letters_keep_s=options.number("letters_keep", LETTERS_KEEP_S),
        ack_wait_s=options.seconds("ack_wait", ACK_WAIT_USUAL_S),
        connect_timeout_s=options.seconds("connect_timeout", 10),
        answer_timeout_s=options.seconds("answer_timeout", 10),
    )
    options.done()
    return place


def _with_one_host(url: str, hosts: str) -> str:
    """Give the URL with the first of its hosts only."""
    parts = urlsplit(url)
    return parts._replace(netloc=hosts.split(",")[0]).geturl()


def lane_of(place: Place, address: str) -> Lane:
    """Give what stands for an address: a stream of its own, or, for a worker, a consumer of the stream that all workers share."""
    if address.startswith(_WORKERS):
        token = _token(address.removeprefix(_WORKERS))
        return Lane(f"{place.prefix}--workers", f"{place.prefix}.worker.{token}", token, True)
    token = _token(address)
    return Lane(f"{place.prefix}--{token}", f"{place.prefix}.address.{token}", "handlers", False)


def _token(text: str) -> str:
    """Give a name for streams, subjects and consumers: a dot is a dash, and what else is not plain is ``=`` and hexadecimal digits."""
    raw = text.encode("utf-8", "surrogatepass")
    token = "".join(chr(byte) if byte in _PLAIN else "-" if byte == ord(".") else f"={byte:02X}" for byte in raw)
    return token if 0 < len(token) <= _TOKEN_MAX else f"{token[: _TOKEN_MAX - 66]}=={hashlib.sha256(raw).hexdigest()}"


def stream_config(place: Place, lane: Lane) -> StreamConfig:
    """Give the stream as it is made."""
    config = StreamConfig(
        name=lane.stream,
        subjects=[lane.subject],
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_msgs=place.packets_max,
        storage=StorageType.FILE if place.storage == "file" else StorageType.MEMORY,
        num_replicas=place.replicas,
        duplicate_window=place.dedupe_s,
    )
    if lane == lane_of(place, DEAD):
        # A letter must always find room, or the packet would come back again and again; the oldest make it.
        config = config.evolve(discard=DiscardPolicy.OLD, max_msgs=place.letters_max, max_age=float(place.letters_keep_s))
    if lane.is_worker:
        # What is said to a worker that has gone is for nobody: it is not even kept.
        config = config.evolve(subjects=[f"{place.prefix}.worker.*"], retention=RetentionPolicy.INTEREST, storage=StorageType.MEMORY)
    return config


def consumer_config(place: Place, lane: Lane) -> ConsumerConfig:
    """Give the consumer that all handlings of an address share. Deliveries are counted and ended by handlings, with the reason."""
    config = ConsumerConfig(
        durable_name=lane.consumer,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=place.ack_wait_s,
        max_deliver=-1,
        max_ack_pending=-1,
        max_waiting=_WAITING_MAX,
    )
    if lane.is_worker:
        config = config.evolve(filter_subject=lane.subject, inactive_threshold=_WORKER_UNUSED_S)
    return config
