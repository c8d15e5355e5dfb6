"""Opens the channel to a service: plain or TLS, with secrets looked up by reference."""

from collections.abc import Callable
from typing import Final

import grpc

from perdure.transports.grpc.addresses import Address, GrpcOptions, is_reference

Secrets = Callable[[str], str]
"""Gives the secret that a reference (``env:NAME``, ``file:PATH``) stands for. Raises `InvalidOption` if there is none."""

_RECONNECT_MS_MAX: Final = 5_000
# Less than five minutes between pings is taken for an attack by servers as they are usually set up (gRPC A8, A9).
_KEEPALIVE_MS: Final = 330_000


def open_channel(address: Address, options: GrpcOptions, secrets: Secrets) -> grpc.aio.Channel:
    """Give the channel; it connects when it is first used, and again whenever it must."""
    arguments: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", options.message_bytes_max),
        ("grpc.max_send_message_length", -1),
        # The engine retries, by the call's policy: nothing below does so again.
        ("grpc.enable_retries", 0),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS_MAX),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        # Two addresses of one machine may be spoken to with different credentials.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if not address.is_secure:
        return grpc.aio.insecure_channel(address.target, options=arguments)
    if options.server_name:
        arguments.append(("grpc.ssl_target_name_override", options.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(options.ca, secrets),
        private_key=_pem(options.key, secrets),
        certificate_chain=_pem(options.certificate, secrets),
    )
    return grpc.aio.secure_channel(address.target, credentials, options=arguments)


def standing_metadata(options: GrpcOptions, secrets: Secrets) -> list[tuple[str, str]]:
    """Give the metadata that every call of a service has. Secrets are looked up anew each time: a new token is used at once."""
    found = [(name, secrets(value) if is_reference(value) else value) for name, value in options.metadata.items()]
    if options.token:
        found.append(("authorization", f"Bearer {secrets(options.token)}"))
    return found


def _pem(reference: str, secrets: Secrets) -> bytes | None:
    return secrets(reference).encode() if reference else None
