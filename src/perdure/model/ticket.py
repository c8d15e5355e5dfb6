"""Tickets: questions to people, as the store keeps them. A ticket changes by these rules alone, whoever writes it down."""

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from perdure.model.duration import instant

TICKETS: Final = "ticket"
"""The kind of record of tickets."""
TICKETS_LEFT: Final = "ticket.left"
"""The kind of record, by ticket, of those that are answered while the call that waits has not got the answer."""
KEPT_US: Final = 30 * 86_400 * 1_000_000
"""How long a closed ticket is kept."""
_PLACE_DIGITS: Final = 17


class TicketState(StrEnum):
    """``OVERDUE``: its deadline came first. ``WITHDRAWN``: nobody waits for the answer any more."""

    OPEN = "open"
    ANSWERED = "answered"
    OVERDUE = "overdue"
    WITHDRAWN = "withdrawn"

    @property
    def kind(self) -> str:
        """The kind of record of the entries, by `Ticket.place`, under which tickets of this state are found."""
        return f"{TICKETS}.{self.value}"


class Ticket(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A question to people. ``form``: the JSON Schema of its answer. ``call``: the key of the call that waits for it, empty until it does.
    ``data``, ``by``: the answer and who gave it. ``is_delivered``: the call has it. Instants are microseconds of Unix time.
    """

    id: str
    run: str
    title: str
    form: dict[str, Any]
    assignees: tuple[str, ...]
    opened_us: int
    details: str = ""
    state: TicketState = TicketState.OPEN
    deadline_us: int | None = None
    call: str = ""
    data: Any = UNSET
    by: str = ""
    closed_us: int = 0
    is_delivered: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether it can be answered."""
        return self.state is TicketState.OPEN

    @property
    def is_left(self) -> bool:
        """Tell whether it has an answer that the call which waits for it has not got."""
        return self.state is TicketState.ANSWERED and bool(self.call) and not self.is_delivered

    @property
    def place(self) -> str:
        """Where it stands among the tickets of its state: the oldest first."""
        return f"{self.opened_us:0{_PLACE_DIGITS}d}/{self.id}"

    @property
    def entries(self) -> dict[tuple[str, str], bytes]:
        """Give the records under which it is found, by kind and key: its state's says who may answer."""
        listed = {(self.state.kind, self.place): msgspec.json.encode(self.assignees)}
        return {**listed, (TICKETS_LEFT, self.id): b""} if self.is_left else listed

    @property
    def expires_us(self) -> int | None:
        """When it may be forgotten."""
        return None if self.is_open else self.closed_us + KEPT_US

    def answered(self, data: Any, by: str, now_us: int) -> "Ticket":
        """Give the ticket with this answer."""
        return msgspec.structs.replace(self, state=TicketState.ANSWERED, data=data, by=by, closed_us=now_us)

    def closed(self, state: TicketState, now_us: int) -> "Ticket":
        """Give the ticket without an answer, closed for that reason; one that is closed already stays as it is."""
        return msgspec.structs.replace(self, state=state, closed_us=now_us) if self.is_open else self

    def outcome(self) -> dict[str, Any]:
        """Give what the call gets: the answer, who gave it and when."""
        return {"ticket": self.id, "data": self.data, "by": self.by, "at": f"{instant(self.closed_us):%Y-%m-%dT%H:%M:%S.%fZ}"}

    def found(self) -> str:
        """Say why it is closed."""
        at = f"{instant(self.closed_us):%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.by} answered it at {at}" if self.state is TicketState.ANSWERED else f"it is {self.state} since {at}"


_decoder = msgspec.json.Decoder(Ticket)
_encoder = msgspec.json.Encoder()


def read_ticket(value: bytes) -> Ticket:
    """Read a ticket from its record."""
    return _decoder.decode(value)


def written_ticket(ticket: Ticket) -> bytes:
    """Give the ticket as its record holds it."""
    return _encoder.encode(ticket)
