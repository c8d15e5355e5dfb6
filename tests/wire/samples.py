"""One message of each kind with everything in it, and one with nothing but what it must have: what golden files hold."""

from typing import Final

from msgspec import Raw

from perdure.wire.messages import (
    Announce,
    AnnouncedAction,
    AnyWireMessage,
    Beat,
    Call,
    Cancel,
    Held,
    Leave,
    Limit,
    Outcome,
    WireError,
)

_KEY: Final = "order-1#0#2.1/4"
_ID: Final = f"{_KEY}~2.3"
_START: Final = 1_767_225_600_000

SAMPLES: Final[dict[str, AnyWireMessage]] = {
    "call": Call(
        v=1,
        id=_ID,
        key=_KEY,
        namespace="shop",
        run="order-1",
        call="2.1/4",
        definition="order",
        attempt=3,
        sequence=2,
        action="geo.lookup",
        version=2,
        args=[Raw(b'"::1"'), Raw(b'"/wA="'), Raw(b"null")],
        kwargs={"deep": Raw(b'{"a":[1,2.5,null,true,"\xc3\xa9"]}'), "0": Raw(b'"AA=="')},
        encodings={"1": "bytes", "2": "empty", "=0": "json+zlib"},
        sent_ms=_START,
        deadline_ms=_START + 60_000,
        timeout_ms=5_000,
        lease_ms=10_000,
        details=Raw(b'{"page":3}'),
        details_encoding="json",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        node="node-1",
    ),
    "call-least": Call(v=1, id="r#0#1~1.1", key="r#0#1", run="r", call="1", attempt=1, action="a", sent_ms=_START, lease_ms=10_000),
    "outcome-data": Outcome(
        v=1, id=_ID, key=_KEY, worker="w-1", status="data", value=Raw(b'"eJyrBQABGgC7"'), encoding="json+zlib", took_ms=12.5
    ),
    "outcome-empty": Outcome(v=1, id=_ID, key=_KEY, worker="w-1", status="empty"),
    "outcome-pending": Outcome(v=1, id=_ID, key=_KEY, worker="w-1", status="pending"),
    "outcome-error": Outcome(
        v=1,
        id=_ID,
        key=_KEY,
        worker="w-1",
        status="error",
        error=WireError(
            type="builtins:FileNotFoundError",
            message="[Errno 2] gone: 'a.txt'",
            is_final=True,
            traceback='  File "a.py", line 1, in a\n',
            types=["builtins:FileNotFoundError", "builtins:OSError"],
            failure=Raw(b'{"type":"builtins:FileNotFoundError","message":"[Errno 2] gone: \'a.txt\'","args":[2,"gone","a.txt"]}'),
        ),
        took_ms=1,
        retry_after_ms=250,
    ),
    "outcome-error-least": Outcome(v=1, id=_ID, key=_KEY, worker="bash", status="error", error=WireError()),
    "beat": Beat(
        v=1,
        worker="w-1",
        attempts=[Held(id=_ID, details=Raw(b'"AA=="'), details_encoding="bytes"), Held(id="b")],
        is_whole=True,
        sent_ms=_START,
    ),
    "beat-least": Beat(v=1, worker="w-1", sent_ms=_START),
    "announce": Announce(
        v=1,
        worker="w-1",
        host="host-3",
        pid=4711,
        language="python",
        started_ms=_START,
        interval_ms=3_000,
        slots=8,
        actions=[
            AnnouncedAction(
                name="geo.lookup",
                version=2,
                queue="geo",
                description="Where an address is.",
                input_schema=Raw(b'{"type":"object","properties":{"ip":{"type":"string"}},"required":["ip"]}'),
                output_schema=Raw(b'{"type":"string"}'),
                limit=Limit(concurrency=4, rate=2.5, burst=5, key="order.user", key_concurrency=1),
                cost=0.01,
                service="geo.example.org",
            ),
            AnnouncedAction(name="a"),
        ],
        push_url="https://geo.example.org/perdure",
    ),
    "announce-least": Announce(v=1, worker="w-1", started_ms=_START, interval_ms=3_000, actions=[]),
    "leave": Leave(v=1, worker="w-1"),
    "cancel": Cancel(v=1, attempts=[_ID, "r#0#1~1.1"], reason="the run was cancelled"),
    "cancel-least": Cancel(v=1, attempts=[]),
}
