"""How our gRPC servers listen: limits, TLS, and the refusal to be reachable from outside without it."""

from __future__ import annotations

import grpc

from consensus.errors import LocalError
from node.config import NodeConfig, is_loopback

MESSAGE_BYTES_MAX = 4 * 2**20
STREAMS_PER_CONNECTION_MAX = 256
CALLS_MAX = 1024
"""RPCs in progress in one process; more get RESOURCE_EXHAUSTED from gRPC itself."""
STOP_SECONDS = 1.5
"""Grace for calls in progress when a server is told to stop."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    # A peer that vanished without a FIN is noticed within 40 s; one that pings faster than every 10 s is cut off.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_idle_ms", 15 * 60_000),
    # Without this a second process may bind the same port, and the kernel deals connections to both.
    ("grpc.so_reuseport", 0),
)

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A try costs nothing on a unix socket, and the node process is back within a second or two.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class CannotListen(LocalError):
    """An address at which this server cannot or may not listen. address; reason; expected: what to do."""

    def __init__(self, address: str, reason: str, expected: str) -> None:
        super().__init__(f"cannot listen at {address}: {reason}; {expected}")
        self.address = address
        self.reason = reason
        self.expected = expected


def listen(server: grpc.aio.Server, config: NodeConfig) -> int:
    """Binds the public port, with TLS where configured; gives the port. Raises: CannotListen."""
    if config.tls_cert is None or config.tls_key is None:
        if not is_loopback(config.rpc_host):
            reason = "others could reach it and it has no TLS"
            raise CannotListen(config.rpc, reason, "set tls_cert and tls_key in config.toml, or listen at 127.0.0.1")
        return _bind(server, config.rpc, None)
    try:
        credentials = grpc.ssl_server_credentials(
            [(config.tls_key.read_bytes(), config.tls_cert.read_bytes())],
            root_certificates=None if config.tls_client_ca is None else config.tls_client_ca.read_bytes(),
            require_client_auth=config.tls_client_ca is not None,
        )
    except OSError as error:
        expected = "check tls_cert, tls_key and tls_client_ca in config.toml"
        raise CannotListen(config.rpc, f"{error.filename}: {error.strerror}", expected) from error
    return _bind(server, config.rpc, credentials)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        port = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
    except RuntimeError as error:
        expected = "stop what listens there, choose another rpc address, or check the certificate and its key"
        raise CannotListen(address, "the port is taken, or the certificate does not fit its key", expected) from error
    return port
