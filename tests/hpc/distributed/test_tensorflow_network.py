"""The sockets of TensorFlow's server, which gRPC would close after 20 s without a confirmation."""

from __future__ import annotations

import socket

from hpc.distributed.tensorflow_network import keep_connections

USER_TIMEOUT = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_what_a_server_has_accepted_may_be_cut_off_for_as_long_as_a_step_may_take() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as other_server,
        socket.create_connection(server.getsockname()) as client,
        socket.create_connection(other_server.getsockname()),
        server.accept()[0] as accepted,
        other_server.accept()[0] as accepted_by_other,
    ):
        for channel in (accepted, accepted_by_other):
            channel.setsockopt(*USER_TIMEOUT, 20_000)
        keep_connections(server.getsockname()[1], seconds=60.0)
        assert accepted.getsockopt(*USER_TIMEOUT) == 60_000
        assert accepted_by_other.getsockopt(*USER_TIMEOUT) == 20_000
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
