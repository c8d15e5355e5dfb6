"""gRPC services as actions: a service that describes itself, or a descriptor set, is enough; no code is generated or imported.

Connection: one HTTP/2 channel for each address, opened by its first call, opened again whenever it breaks. ``grpcs://`` is TLS.
Delivery: a call is made once for each attempt and answered on the same stream; what was lost on the way is made again as another attempt,
  by the call's retry policy. Nothing is retried here. The idempotency key, the same for all attempts, travels as metadata.
Limits: ``message_bytes_max`` for one message and for a stream as a whole, ``messages_max`` for the messages of a stream: a stream goes in
  and comes out as a list, and is recorded as one value.
Options: `GrpcOptions`; secrets are references.
"""

from perdure.transports.grpc.addresses import Address, GrpcOptions, address_of
from perdure.transports.grpc.descriptions import Description, Kind, MethodDescription, ServiceDescription, describe_file
from perdure.transports.grpc.registered import RegisteredServices
from perdure.transports.grpc.registration import Registered, Registration, register, registered_services
from perdure.transports.grpc.services import GrpcServices

__all__ = [
    "Address",
    "Description",
    "GrpcOptions",
    "GrpcServices",
    "Kind",
    "MethodDescription",
    "Registered",
    "RegisteredServices",
    "Registration",
    "ServiceDescription",
    "address_of",
    "describe_file",
    "register",
    "registered_services",
]
