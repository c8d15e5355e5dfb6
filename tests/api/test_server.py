"""The server's own socket."""

import socket

from perdure.api import server


def test_an_answer_does_not_wait_for_the_ack_of_the_one_before() -> None:
    listening = server._open("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
