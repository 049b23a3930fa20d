"""TLS contexts among nodes: nobody is trusted but our own CA, and both ends show a certificate."""

from __future__ import annotations

import os
import ssl

from cached.peers.certificate import Pem


def server_context(pem: Pem) -> ssl.SSLContext:
    """Demands a client certificate. Raises ssl.SSLError for what OpenSSL does not take, OSError without
    a file descriptor to spare."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, pem)
    # A resumed session would pass over the certificate, which may have expired since. Bulk connections are
    # kept open, so handshakes are few.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return context


def client_context(pem: Pem) -> ssl.SSLContext:
    """Checks the other end's name or address. Raises as `server_context` does."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, pem)
    context.check_hostname = True
    context.hostname_checks_common_name = False
    return context


def _context(protocol: int, pem: Pem) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # As gRPC does: the CA may be one that another CA vouches for.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=pem.ca.decode("ascii", "ignore"))
    # OpenSSL takes paths only. A file in memory holds the very bytes that were read, and leaves none behind.
    fd = os.memfd_create("identity")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(pem.cert + b"\n" + pem.key)
        context.load_cert_chain(f"/proc/self/fd/{fd}", password="")
    finally:
        os.close(fd)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Let the two meet in memory, the server as `name`. Raises ssl.SSLError as either end would."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
