"""Where a service is, and how it is spoken to."""

import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct, field

from perdure.model.errors import InvalidOption

_REFERENCE: Final = re.compile(r"(env|file):.+", re.DOTALL)
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: names of metadata; binary values are not taken.
_METADATA_NAME: Final = re.compile(r"[0-9a-z_.-]+")


class Address(Struct, frozen=True):
    """``target`` is ``host:port``, as the library takes it."""

    target: str
    is_secure: bool

    @property
    def url(self) -> str:
        """The address as records and errors have it."""
        return f"{'grpcs' if self.is_secure else 'grpc'}://{self.target}"


def address_of(text: str) -> Address:
    """Read ``HOST:PORT``, ``grpc://HOST:PORT`` or, for TLS, ``grpcs://HOST:PORT``. Raises `InvalidOption`."""
    parts = urlsplit(text if "://" in text else f"grpc://{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    is_bare = not (parts.path.strip("/") or parts.query or parts.fragment)
    if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or not port or not is_bare or "@" in parts.netloc:
        # What stands before an @ may be a secret.
        found = repr(text.rpartition("@")[2])
        raise InvalidOption(
            option="the address of a gRPC service", found=found, expected="HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(f"{host}:{port}", is_secure=parts.scheme == "grpcs")


class GrpcOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one service is spoken to. Secrets are references, ``env:NAME`` or ``file:PATH``, looked up when used.

    ``ca``: certificates of the authorities to trust (PEM) instead of the usual ones. ``certificate`` and ``key``: of this client, for
    mutual TLS. ``server_name``: the name in the server's certificate if it is not the host's. ``token``: sent as ``authorization``.
    ``metadata``: sent with each call; a value may be a reference. ``message_bytes_max``: one message, and all of a stream together.
    ``messages_max``: messages of one stream.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    token: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    message_bytes_max: int = 16 * 1024 * 1024
    messages_max: int = 10_000

    def check(self, address: Address) -> None:
        """Raise `InvalidOption` for what cannot be right; never shows what may be a secret."""
        for name in ("ca", "certificate", "key", "token"):
            given = getattr(self, name)
            if given and not is_reference(given):
                raise InvalidOption(option=f"grpc {name}", found="a text that is no reference", expected="env:NAME or file:PATH")
        if bool(self.certificate) != bool(self.key):
            raise InvalidOption(option="grpc certificate and key", found="one of the two", expected="both or none")
        if not address.is_secure and (self.ca or self.certificate or self.server_name):
            raise InvalidOption(option="grpc ca, certificate, key and server_name", found=address.url, expected=f"grpcs://{address.target}")
        for name in ("message_bytes_max", "messages_max"):
            if getattr(self, name) < 1:
                raise InvalidOption(option=f"grpc {name}", found=repr(getattr(self, name)), expected="1 or more")
        check_metadata(self.metadata)


def is_reference(text: str) -> bool:
    """Tell whether the text refers to a secret."""
    return _REFERENCE.fullmatch(text) is not None


def check_metadata(metadata: dict[str, str]) -> None:
    """Raise `InvalidOption` for a name that gRPC does not carry, or keeps for itself."""
    for name in metadata:
        if not _METADATA_NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
            expected = "lower-case letters, digits, '-', '_' and '.', not beginning with 'grpc-' nor ending in '-bin'"
            raise InvalidOption(option="a name of gRPC metadata", found=repr(name), expected=expected)
