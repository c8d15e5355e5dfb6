"""Which product a transport's URL names."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from perdure.model.errors import InvalidOption, Unsupported
from perdure.ports.transport import Transport


def _rabbitmq(url: str) -> Transport:
    from perdure.transports.rabbitmq import RabbitMQTransport

    return RabbitMQTransport(url)


def _nats(url: str) -> Transport:
    from perdure.transports.nats import NatsTransport

    return NatsTransport(url)


_MADE_BY: Mapping[str, tuple[str, Callable[[str], Transport]]] = {
    "amqp": ("rabbitmq", _rabbitmq),
    "amqps": ("rabbitmq", _rabbitmq),
    "nats": ("nats", _nats),
    "tls": ("nats", _nats),
}
_FAMILIES: Mapping[str, str] = {"amqps": "amqp", "tls": "nats"}


def scheme_of(url: str) -> str:
    """Give the name by which the registry knows transports of this kind, secured or not."""
    scheme = urlsplit(url).scheme
    return _FAMILIES.get(scheme, scheme)


def make_transport(url: str) -> Transport:
    """Give the broker's transport, not opened yet. Raises `InvalidOption`, and `Unsupported` where its extra is not installed."""
    scheme = urlsplit(url).scheme
    if scheme not in _MADE_BY:
        raise InvalidOption(option="transport", found=repr(scheme or url), expected=f"a URL that begins with {', '.join(_MADE_BY)}")
    extra, make = _MADE_BY[scheme]
    try:
        return make(url)
    except ModuleNotFoundError as error:
        raise Unsupported(what=f"The transport {scheme}://", why=f"{error.name} is missing: pip install 'perdure[{extra}]'") from error
