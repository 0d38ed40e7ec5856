"""The way back to the client of one API request."""
from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from email.utils import formatdate
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import Any, Dict, Optional

from idempotency import Answer
from request_log import Request
from world import World

Headers = Dict[str, Any]  # a header of None is left out


def head(handler: BaseHTTPRequestHandler, now: float, status: int, length: int,
         headers: Headers) -> bytes:
    """Status line and headers. `Date` follows the clock of the sandbox."""
    everything: Headers = {
        'Server': 'nginx',
        'Date': formatdate(now, usegmt=True),
        'Content-Type': 'application/json',
        'Content-Length': length,
        'Cache-Control': 'no-cache, no-store',
        'Connection': 'close' if handler.close_connection else 'keep-alive',
        **headers,
    }
    lines = [f'HTTP/1.1 {status} {responses.get(status, "Unknown")}']
    lines += [f'{name}: {value}' for name, value in everything.items() if value is not None]
    return ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1', 'replace')


class Wire:
    def __init__(self, handler: BaseHTTPRequestHandler, world: World, request: Request) -> None:
        self._handler, self._world, self._request = handler, world, request

    def send(self, answer: Answer, headers: Optional[Headers] = None) -> None:
        self._write(self._head(answer, headers or {}) + answer.body)

    def send_part(self, answer: Answer, size: int) -> None:
        """The whole head and the beginning of the body."""
        self._write(self._head(answer, {}) + answer.body[:size])

    def send_rest(self, rest: bytes) -> None:
        self._write(rest)

    def close(self) -> None:
        self._handler.close_connection = True

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close()
        os.close(connection.detach())

    def client_gone(self) -> bool:
        connection = self._handler.connection
        if not select.select([connection], [], [], 0)[0]:
            return False
        if isinstance(connection, ssl.SSLSocket):
            return True  # nothing but a close can come while the client waits
        try:
            return connection.recv(1, socket.MSG_PEEK) == b''
        except OSError:
            return True

    def _head(self, answer: Answer, changed: Headers) -> bytes:
        """The headers of section 1.4."""
        request = self._request
        request.status, request.replayed = answer.status, answer.replayed
        return head(self._handler, self._world.clock.now(), answer.status, len(answer.body), {
            'Request-Id': request.id,
            'Stripe-Version': request.stripe_version or self._world.config['api_version'],
            'Idempotency-Key': request.idempotency_key,
            'Idempotent-Replayed': 'true' if answer.replayed else None,
            'WWW-Authenticate': 'Basic realm="Stripe"' if answer.status == 401 else None,
            **changed,
        })

    def _write(self, data: bytes) -> None:
        try:
            self._handler.wfile.write(data)
        except OSError:  # the client has gone
            self.close()
