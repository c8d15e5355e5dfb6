"""The part of an event loop that a workflow must not have: the network, threads, processes, signals, other loops."""

import asyncio
from typing import TYPE_CHECKING, Any

from perdure.deciders.code.places import here

if TYPE_CHECKING:
    from perdure.deciders.code.context import RunContext

_ACTION = "an @action"
_THREAD = "an @action: a plain def runs in a thread"
_OUTSIDE = "run.send(…) from outside, and signal.receive() here"
_AWAIT = "await: the workflow has a loop of its own"
_ENGINE = "nothing: this belongs to the engine"


def _refusal(name: str, instead: str) -> Any:
    def refuse(self: "RefusingLoop", *args: Any, **kwargs: Any) -> Any:
        self.run_context.forbid(f"loop.{name}()", instead, here())

    refuse.__name__ = name
    refuse.__qualname__ = f"RefusingLoop.{name}"
    return refuse


class RefusingLoop(asyncio.AbstractEventLoop):
    """Every method that needs the world stalls the run and says what to use instead."""

    run_context: "RunContext"

    run_in_executor = _refusal("run_in_executor", _THREAD)
    set_default_executor = _refusal("set_default_executor", _THREAD)
    call_soon_threadsafe = _refusal("call_soon_threadsafe", _OUTSIDE)
    run_forever = _refusal("run_forever", _AWAIT)
    run_until_complete = _refusal("run_until_complete", _AWAIT)
    stop = _refusal("stop", _ENGINE)
    shutdown_asyncgens = _refusal("shutdown_asyncgens", _ENGINE)
    shutdown_default_executor = _refusal("shutdown_default_executor", _ENGINE)
    set_task_factory = _refusal("set_task_factory", _ENGINE)
    set_exception_handler = _refusal("set_exception_handler", _ENGINE)
    set_debug = _refusal("set_debug", _ENGINE)
    add_signal_handler = _refusal("add_signal_handler", _OUTSIDE)
    remove_signal_handler = _refusal("remove_signal_handler", _OUTSIDE)
    getaddrinfo = _refusal("getaddrinfo", _ACTION)
    getnameinfo = _refusal("getnameinfo", _ACTION)
    create_connection = _refusal("create_connection", _ACTION)
    create_server = _refusal("create_server", _ACTION)
    create_unix_connection = _refusal("create_unix_connection", _ACTION)
    create_unix_server = _refusal("create_unix_server", _ACTION)
    create_datagram_endpoint = _refusal("create_datagram_endpoint", _ACTION)
    connect_accepted_socket = _refusal("connect_accepted_socket", _ACTION)
    connect_read_pipe = _refusal("connect_read_pipe", _ACTION)
    connect_write_pipe = _refusal("connect_write_pipe", _ACTION)
    start_tls = _refusal("start_tls", _ACTION)
    sendfile = _refusal("sendfile", _ACTION)
    subprocess_shell = _refusal("subprocess_shell", _ACTION)
    subprocess_exec = _refusal("subprocess_exec", _ACTION)
    add_reader = _refusal("add_reader", _ACTION)
    remove_reader = _refusal("remove_reader", _ACTION)
    add_writer = _refusal("add_writer", _ACTION)
    remove_writer = _refusal("remove_writer", _ACTION)
    sock_recv = _refusal("sock_recv", _ACTION)
    sock_recv_into = _refusal("sock_recv_into", _ACTION)
    sock_recvfrom = _refusal("sock_recvfrom", _ACTION)
    sock_recvfrom_into = _refusal("sock_recvfrom_into", _ACTION)
    sock_sendall = _refusal("sock_sendall", _ACTION)
    sock_sendto = _refusal("sock_sendto", _ACTION)
    sock_sendfile = _refusal("sock_sendfile", _ACTION)
    sock_connect = _refusal("sock_connect", _ACTION)
    sock_accept = _refusal("sock_accept", _ACTION)

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None
