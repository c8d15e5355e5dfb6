"""``perdure grpc``: services whose methods are actions."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from perdure import Engine, insight
from perdure.app.grpc import GrpcService, call_grpc_method, register_grpc_service
from perdure.cli.connection import Place, ask, run_loop
from perdure.cli.exits import CommandEnds, Exit
from perdure.cli.values import as_json, print_value, value_of
from perdure.cli.wording import age_of, plural
from perdure.model.duration import MICROSECONDS, instant, span_us
from perdure.model.registry import ActionRecord, Source
from perdure.ports.system import SystemClock

_PLACE = Place()
_HEADINGS = ("ACTION", "KIND", "SERVICE", "ADDRESS", "SEEN")


@Parameter(name="*")
@dataclass
class Channel:
    """Options of how a service is spoken to. Secrets are references: env:NAME or file:PATH."""

    descriptor_set: Annotated[str | None, Parameter(help="A file made by protoc, for a service without reflection.")] = None
    ca: Annotated[str, Parameter(help="For grpcs: the authorities to trust, such as file:ca.pem.")] = ""
    certificate: Annotated[str, Parameter(help="For grpcs: this client's certificate, such as file:client.pem.")] = ""
    key: Annotated[str, Parameter(help="For grpcs: its key, such as file:client.key.")] = ""
    server_name: Annotated[str, Parameter(help="For grpcs: the name in the server's certificate.")] = ""
    token: Annotated[str, Parameter(help="Sent as 'authorization: Bearer …', such as env:USERS_TOKEN.")] = ""
    metadata: Annotated[tuple[str, ...], Parameter(negative="", help="Sent with each call: name=value, or name=env:NAME.")] = ()
    messages_max: Annotated[int | None, Parameter(help="Messages of one stream. Default: 10000.")] = None
    message_bytes_max: Annotated[int | None, Parameter(help="One message, and a stream as a whole. Default: 16 MiB.")] = None

    def service(self, address: str) -> GrpcService:
        """Give the service at an address."""
        names = ("ca", "certificate", "key", "server_name", "token", "messages_max", "message_bytes_max")
        given = {name: value for name in names if (value := getattr(self, name)) not in ("", None)}
        return GrpcService(
            address=address, descriptor_set=self.descriptor_set, channel={**given, "metadata": dict(map(_pair, self.metadata))}
        )


_CHANNEL = Channel()


def register(
    address: str,
    /,
    *,
    name: Annotated[str, Parameter(help="Name of the service. Default: its address.")] = "",
    replace: Annotated[bool, Parameter(negative="", show_default=False, help="Take actions from services of other names.")] = False,
    channel: Channel = _CHANNEL,
    place: Place = _PLACE,
) -> None:
    """Make the methods of a gRPC service actions, such as users.v1.Users/List. They stay known while it is offline.

    Parameters
    ----------
    address
        HOST:PORT, or grpcs://HOST:PORT for TLS.
    """

    async def work() -> Any:
        async with Engine(place.url, namespace=place.namespace, is_client=True) as engine:
            return await register_grpc_service(engine.store, channel.service(address), SystemClock(), name=name, has_precedence=replace)

    done, undescribed = run_loop(work)
    for method in sorted(done.methods, key=lambda entry: entry.name):
        print(f"{'+' if method.name in done.new else ' '} {method.name}  {_kind(method.kind.value)}".rstrip())
    _say(f"{plural(len(done.methods), 'action')} of the service {done.service}, {len(done.new)} of them new.")
    if done.gone:
        _say(f"It does not have these any more; they stay known: {', '.join(done.gone)}.")
    if undescribed:
        _say(f"It lists these, but cannot describe them: {', '.join(undescribed)}. Give their descriptor set.")


def list_all(
    *, json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON, with schemas.")] = False, place: Place = _PLACE
) -> None:
    """List the actions of gRPC services that were ever registered."""

    async def work(engine: Engine) -> list[ActionRecord]:
        return [action async for action in insight.known_actions(engine.store) if action.source is Source.GRPC]

    found = ask(place, work)
    if json:
        print(as_json(found, indent=2))
    elif not found:
        print("No gRPC services.")
    else:
        rows = [
            (action.name, _kind(action.kind), action.service, action.address, age_of(instant(action.last_seen_us)) + " ago")
            for action in found
        ]
        _print_table([_HEADINGS, *rows])


def call(
    address: str,
    method: str,
    request: str | None = None,
    /,
    *,
    timeout: Annotated[str, Parameter(help="How long it may take.")] = "30s",
    channel: Channel = _CHANNEL,
) -> None:
    """Call a method once, outside of any run, and print its value.

    Parameters
    ----------
    address
        HOST:PORT, or grpcs://HOST:PORT for TLS.
    method
        The method in full, such as users.v1.Users/List.
    request
        The message as JSON; for a client stream a list of messages. Without it, an empty one.
    """

    async def work() -> Any:
        seconds = span_us(timeout) / MICROSECONDS
        given = [] if request is None else [value_of(request)]
        return await call_grpc_method(channel.service(address), SystemClock(), method, arguments=given, timeout=seconds)

    print_value(run_loop(work))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        # What was given may be a secret: it is not repeated.
        raise CommandEnds(Exit.USAGE, "perdure grpc: --metadata: found no '=', expected name=value or name=env:NAME")
    return name, value


def _kind(kind: str) -> str:
    return kind.replace("_", " ")


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _say(text: str) -> None:
    print(text, file=sys.stderr)
