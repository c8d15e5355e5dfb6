"""A service may be spoken to over TLS, with a certificate of its own authority, and may ask for one of ours."""

from pathlib import Path

import grpc
import pytest

from perdure.config import secret_of
from perdure.model.codec import Serializer
from perdure.model.errors import ServiceUnavailable
from perdure.ports.system import SystemClock
from perdure.transports.grpc import GrpcOptions, GrpcServices
from tests.transports.certificates import self_signed
from tests.transports.grpc_server import USERS_FILES, Library, LoneFiles, compiled, serving


async def methods_at(address: str, options: GrpcOptions) -> int:
    services = GrpcServices(SystemClock(), Serializer(), secrets=secret_of)
    try:
        return len((await services.describe(address, options)).methods())
    finally:
        await services.close()


async def test_a_service_with_a_certificate_that_is_trusted_is_spoken_to_and_no_other(tmp_path: Path) -> None:
    library = Library(compiled(USERS_FILES, tmp_path))
    pem, key = self_signed(tmp_path, "users.test")
    stranger, _ = self_signed(tmp_path, "stranger.test")
    lone = LoneFiles("v1", ["users.v1.Users"], library.files)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), pem.read_bytes())])
    async with serving(lone.handlers, credentials=credentials) as port:
        address = f"grpcs://localhost:{port}"
        assert await methods_at(address, GrpcOptions(ca=f"file:{pem}", server_name="users.test")) == 5
        for options in (
            GrpcOptions(ca=f"file:{stranger}", server_name="users.test"),
            GrpcOptions(ca=f"file:{pem}"),
            GrpcOptions(server_name="users.test"),
        ):
            with pytest.raises(ServiceUnavailable):
                await methods_at(address, options)
        with pytest.raises(ServiceUnavailable):
            await methods_at(f"grpc://localhost:{port}", GrpcOptions())


async def test_a_service_that_asks_for_our_certificate_gets_it(tmp_path: Path) -> None:
    library = Library(compiled(USERS_FILES, tmp_path))
    pem, key = self_signed(tmp_path, "users.test")
    mine, my_key = self_signed(tmp_path, "client.test")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), pem.read_bytes())], mine.read_bytes(), require_client_auth=True)
    async with serving(LoneFiles("v1", ["users.v1.Users"], library.files).handlers, credentials=credentials) as port:
        address, known = f"grpcs://localhost:{port}", GrpcOptions(ca=f"file:{pem}", server_name="users.test")
        with pytest.raises(ServiceUnavailable):
            await methods_at(address, known)
        full = GrpcOptions(ca=f"file:{pem}", server_name="users.test", certificate=f"file:{mine}", key=f"file:{my_key}")
        assert await methods_at(address, full) == 5
