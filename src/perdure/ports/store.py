"""The store: where runs and journals live.

Promises of every store, proved by ``perdure.testing.conformance.store``:

* `Writer.commit` is atomic: after it returned, all of the batch is there and is as durable as was asked; after it raised, none of it is.
  `StoreUnavailable` alone leaves that open: committing the same batch again is safe then, and has one effect.
* A batch with an epoch is written only while that epoch is a live node's; otherwise `LeaseLost` and nothing is written (G1).
* Starts are idempotent on the run's id: an id that exists leaves the old run as it is, takes nothing of that run from the batch, and is
  reported; the rest of the batch is written.
* Journal rows are never changed. A second row with the same run and number is refused with `LeaseLost`, whole batch included.
* Reads see whole commits only.
* Errors of the product below are raised as ours: `StoreUnavailable` (try again), `CorruptJournal` (this row cannot be read).

All methods may be called from several tasks of one event loop; they run one after another.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from perdure.model.durability import Durability
from perdure.model.ids import CallName, RunId
from perdure.model.payload import blobs_named
from perdure.model.retention import Outdated
from perdure.model.run import RunChange, RunRow, Status, Transition
from perdure.ports.packets import Packets
from perdure.ports.records import Records


class Traits(Struct, frozen=True, kw_only=True):
    """What a store can do.

    ``partitions``: into how many slices the runs are cut; with 1 there is one node at a time, and it has them all. ``poll_us``: how long
    a node waits between two looks at the store while others write there; ``poll_idle_us``: how long at most while nobody does.
    ``is_transactional``: it is a `perdure.ports.transactions.Transactions` too.
    """

    partitions: int = 1
    poll_us: int = 100_000
    poll_idle_us: int = 100_000
    is_transactional: bool = False


class InboxItem(Struct, frozen=True, gc=False):
    """A message waiting for a run. ``(run, id)`` is unique: posting it again changes nothing. ``body`` is JSON, ``data`` lies beside it."""

    run: RunId
    id: str
    at_us: int
    body: bytes
    data: bytes | None = None


class Reply(Struct, frozen=True, gc=False):
    """An answer for whoever posted an inbox item. ``id`` is `perdure.model.ids.reply_id` of the item's run and id."""

    id: str
    at_us: int
    body: bytes
    data: bytes | None = None


class Heartbeat(Struct, frozen=True, gc=False):
    """The latest details that an attempt reported: a JSON payload, and bytes beside it."""

    run: RunId
    call: CallName
    attempt: int
    body: bytes
    data: bytes | None = None


class Consequences(Struct):
    """What the first transition of a start asked of others: the runs it started, and its messages as ``(run, id)``."""

    starts: list[RunId] = field(default_factory=list)
    posts: list[tuple[RunId, str]] = field(default_factory=list)


def start_id(run: RunId) -> str:
    """Give the id of the message in which a run's own start lies, where it is not begun with its row."""
    return f"{run}#start"


class Batch(Struct):
    """Everything of one commit, of any number of runs. ``epoch`` is ``None`` for writers that are not nodes: starts, posts and blobs only.

    Order inside: replaced, starts, blobs, journal rows, heartbeats, changes (several of one run apply in order), truncations, posts,
    consumed, replies (the first for an id stands). An id is started at most once in a batch. ``consumed`` lists inbox items to delete
    as ``(run, id)``;
    ``truncated`` gives, for a run, the number below which journal rows are deleted. A change of a run whose new status is final also
    deletes its heartbeats. ``checked`` names the starts whose id a caller chose: only these can be in conflict; another that is taken
    raises `Internal` and nothing is written. ``refusals`` gives, for a start in ``checked``, the message that is posted if its id is taken.
    ``led_to`` names what falls with such a start: starts that are in ``checked`` too, and posts. ``replaced`` names starts before which a
    run of that id that has ended is deleted, with all that belongs to it but its blobs. A post to a run that does not exist may be
    dropped. ``durability``: the strongest class of the batch's runs; ``None`` for the store's own.
    """

    epoch: int | None = None
    starts: list[RunRow] = field(default_factory=list)
    checked: set[RunId] = field(default_factory=set)
    rows: list[Transition] = field(default_factory=list)
    changes: list[RunChange] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    posts: list[InboxItem] = field(default_factory=list)
    consumed: list[tuple[RunId, str]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    truncated: dict[RunId, int] = field(default_factory=dict)
    replaced: set[RunId] = field(default_factory=set)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    durability: Durability | None = None
    refusals: dict[RunId, InboxItem] = field(default_factory=dict)
    led_to: dict[RunId, Consequences] = field(default_factory=dict)

    def dropped(self, taken: Mapping[RunId, RunRow]) -> dict[RunId, RunRow]:
        """Give the starts that are not written if these are ``taken``, each with the row that was in its way, or in that of its starter."""
        found, open_ids = dict(taken), list(taken)
        for run in open_ids:
            fallen = [start for start in self.led_to[run].starts if start not in found] if run in self.led_to else []
            found |= dict.fromkeys(fallen, found[run])
            open_ids += fallen
        return found

    def posts_without(self, dropped: Collection[RunId]) -> list[InboxItem]:
        """Give the posts of a batch of which these starts are not written: neither their own beginnings nor what they asked of others.

        What others say to a run of that id is kept: it is for the one that is there. The starts that were taken are refused, but not to a
        starter that was dropped itself.
        """
        consequences = [self.led_to[run] for run in dropped if run in self.led_to]
        fallen = {post for consequence in consequences for post in consequence.posts} | {(run, start_id(run)) for run in dropped}
        orphans = {run for consequence in consequences for run in consequence.starts}
        refusals = [self.refusals[run] for run in dropped if run in self.refusals and run not in orphans]
        return [*(item for item in self.posts if (item.run, item.id) not in fallen), *refusals]


class BlobUse(Struct, frozen=True, gc=False):
    """A run, or the reply of that id, refers to a blob."""

    hash: str
    owner: str
    is_reply: bool = False


def uses_of(batch: Batch) -> set[BlobUse]:
    """Give the references to the blobs of a batch that are in it."""
    if not batch.blobs:
        return set()
    texts = [*((row.facts, row.run) for row in batch.rows), *((item.body, item.run) for item in batch.posts)]
    uses = {BlobUse(hash, owner) for text, owner in texts for hash in blobs_named(text)}
    uses |= {BlobUse(hash, reply.id, is_reply=True) for reply in batch.replies for hash in blobs_named(reply.body)}
    return {use for use in uses if use.hash in batch.blobs}


class Loaded(Struct, frozen=True):
    """All that is needed to go on with a run: its row, the journal of its present incarnation in order, its inbox in order of arrival."""

    row: RunRow
    transitions: list[Transition]
    inbox: list[InboxItem]
    heartbeats: list[Heartbeat]


class RunQuery(Struct, frozen=True, kw_only=True):
    """Which runs to list: newest first, at most ``limit``. Fields left ``None`` do not filter; ``before`` goes on after a last row.

    ``is_oldest_first`` turns the order round; then ``after`` goes on after a last row.
    """

    status: Status | None = None
    tag: str | None = None
    definition: str | None = None
    parent: RunId | None = None
    before: tuple[int, RunId] | None = None
    after: tuple[int, RunId] | None = None
    is_oldest_first: bool = False
    limit: int = 100


class Writer(Protocol):
    async def open(self) -> None:
        """The store is ready and its schema is the newest; safe to call on one that is open. Raises `StoreUnavailable`, `Unsupported`."""
        ...

    async def close(self) -> None:
        """Nothing is held any more; safe to call twice."""
        ...

    def grants(self, asked: Durability | None) -> Durability:
        """Give the class that a run gets which asks for this one: at least as strong. ``None`` asks for the store's own.

        Raises `Unsupported` for one that the store, as it is set up now, cannot give.
        """
        ...

    async def commit(self, batch: Batch) -> Mapping[RunId, RunRow]:
        """The batch, as it is at the time of the call, is durable, all of it.

        Gives the existing rows of the starts in ``checked`` whose id was taken.

        A taken start is dropped with its journal rows, its changes, its `start_id`, and what it led to, other starts included: these
        are given with the row that was in the first one's way. Its refusal is posted, unless that is for a run that was dropped too.
        Raises `LeaseLost`, `StoreUnavailable`.
        """
        ...


class NodeSeat(Struct, frozen=True):
    """A live node: its epoch, its name, and until when it lives unless it renews its lease."""

    epoch: int
    name: str
    until_us: int


class Survey(Struct, frozen=True):
    """Who is there. ``holders``: for each partition the epoch that holds it, alive or dead; ``None``: it is free.

    ``now_us``: the store's own clock, where it has one; all nodes go by it.
    """

    nodes: list[NodeSeat]
    holders: list[int | None]
    now_us: int | None = None


class Leases(Protocol):
    """Nodes come and go, and share the partitions. All instants are of the callers' clocks, which go by the store's."""

    async def take_lease(self, node: str, now_us: int, lease_us: int) -> int | None:
        """A node has come; gives its epoch, higher than any before. It holds no partition yet.

        ``None`` on a store for one node at a time, if another is live. A holder there is not live when it has died, if the store can tell;
        if it cannot, when its lease ended before ``now_us``.
        """
        ...

    async def renew_lease(self, epoch: int, now_us: int, lease_us: int) -> Survey | None:
        """The lease lasts until ``now_us + lease_us``; gives who is there; ``None`` if the epoch is fenced or was released."""
        ...

    async def survey(self) -> Survey:
        """Give who is there, for whoever asks; nothing changes. Nodes whose lease has ended may be among them."""
        ...

    async def release_lease(self, epoch: int) -> None:
        """The node has gone and its partitions are free; releasing a lost lease does nothing."""
        ...

    async def take_partitions(self, epoch: int, wanted: Sequence[int], now_us: int) -> list[int]:
        """Give those of the wanted that this epoch holds now: they were free, or their holder's lease had ended before ``now_us``.

        Such a holder is fenced: it writes nothing more, and its other partitions are free. Raises `LeaseLost`.
        """
        ...

    async def give_partitions(self, epoch: int, given: Sequence[int]) -> None:
        """The partitions are free, if this epoch held them."""
        ...


class Reader(Protocol):
    async def row(self, run: RunId) -> RunRow | None:
        """Give the run's row, ``None`` if there is none."""
        ...

    async def find(self, query: RunQuery) -> list[RunRow]:
        """Give the rows that the query asks for, in its order."""
        ...

    async def transitions(self, run: RunId, after: int, limit: int) -> list[Transition]:
        """Give up to ``limit`` journal rows with a number above ``after``, in order."""
        ...

    async def load(self, runs: Sequence[RunId], within: Collection[int] | None = None) -> list[Loaded]:
        """Give what is needed to go on with these runs, in any order; runs that do not exist are left out.

        Of those in partitions other than ``within``, if that is given, nothing but the row needs to be there.
        """
        ...

    async def mentions(self, run: RunId, text: bytes) -> Loaded | None:
        """Give the run as `load` does, but of its journal only the rows whose facts contain the text, and of its inbox only the messages
        whose body does; no heartbeats. ``None`` if there is no such run. It costs the store a look at each of them.
        """
        ...

    async def blobs(self, hashes: Collection[str]) -> dict[str, bytes]:
        """Give the blobs of these content hashes; unknown ones are left out."""
        ...

    async def reply(self, id: str) -> Reply | None:
        """Give the reply of this id, ``None`` if there is none yet."""
        ...


class Agenda(Protocol):
    """What the node that holds ``partitions`` has to look after."""

    async def held(self, partitions: Collection[int]) -> list[RunId]:
        """Give the runs whose row says that a node holds them live: after a crash, all that were in flight."""
        ...

    async def due(self, partitions: Collection[int], now_us: int, limit: int) -> list[RunId]:
        """Give runs that are not held and whose ``wake_us`` is at or before ``now_us``, earliest first."""
        ...

    async def next_wake_us(self, partitions: Collection[int]) -> int | None:
        """Give the earliest ``wake_us`` of runs that are not held; ``None`` if none waits for time."""
        ...

    async def addressed(self, partitions: Collection[int], limit: int) -> list[InboxItem]:
        """Give the oldest inbox items of all runs, in order of arrival."""
        ...

    async def has_news(self, partitions: Collection[int]) -> bool:
        """Tell whether another writer may have left something since the last call. Cheap; may say yes too often, never no wrongly."""
        ...


class Pruning(Protocol):
    """Deletes what nobody needs any more. Other writers go on meanwhile."""

    async def prune_runs(self, outdated: Outdated, partitions: Collection[int], *, limit: int) -> int:
        """Up to ``limit`` of these runs are gone, with all that belongs to them; gives their number.

        Blobs go too, if no other run, message or reply refers to them. A reference counts from the commit that has both it and its blob,
        so every commit that writes a reference has the blob in it; what a commit has is there after it, whoever prunes meanwhile.
        """
        ...

    async def count_outdated(self, outdated: Outdated) -> int:
        """Give the number of these runs, in all partitions."""
        ...

    async def prune_replies(self, before_us: int) -> int:
        """Replies written before that instant are gone, with blobs that nothing else refers to; gives their number."""
        ...


class Settings(Protocol):
    """A few texts of the store's own, by name. They are read again and again, and seldom written."""

    async def setting(self, name: str) -> str | None:
        """Give the text, ``None`` if there is none."""
        ...

    async def set_setting(self, name: str, value: str) -> None:
        """The name has this text."""
        ...

    async def schema_version(self) -> int:
        """Give the version of the tables; 0 where there are none."""
        ...


class Hint(Struct, frozen=True):
    """Something that others may be waiting for. ``posted``: runs with new inbox items; ``ended``: runs that ended, replies.

    ``called``: addresses with new packets. ``has_moved``: partitions are free for others. ``is_partial``: there was more than is named.
    """

    posted: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    has_moved: bool = False
    is_partial: bool = False
    called: frozenset[str] = frozenset()


class News(Protocol):
    """Word from writer to writer. It shortens waits and is never needed: it may come late, twice or not at all."""

    def announce(self, hint: Hint) -> None:
        """What the hint tells is durable; others will hear of it soon, together with other hints."""
        ...

    def subscribe(self, heard: Callable[[Hint], None]) -> Callable[[], None]:
        """``heard`` is called in the event loop with the hints of others, until the function that this gives is called.

        What is ``called`` through this very object is told too: takers and senders may share it.
        """
        ...


class Store(Writer, Leases, Reader, Agenda, Pruning, Settings, News, Records, Packets, Protocol):
    """A whole store. ``name`` is what errors call it, such as the URL without secrets."""

    @property
    def traits(self) -> Traits:
        """What it can do."""
        ...

    @property
    def name(self) -> str:
        """What errors call it."""
        ...
