"""HTTP: reads requests and hands them to the API or to the control."""
from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional

import forms
from api import Api
from control import Control
from misbehaviour import misbehave
from record import Record
from request_log import Request
from store import random_text
from wire import Wire, head
from world import World

_CONTROL = '/_sandbox/'


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()  # here, not where connections are accepted
        super().setup()

    def _serve(self) -> None:
        path, _, query = self.path.partition('?')
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if path.startswith(_CONTROL):
            self._serve_control(path[len(_CONTROL):], query, body)
        else:
            self._serve_api(path, query, body)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve

    def _serve_control(self, path: str, query: str, body: bytes) -> None:
        status, answer = self.server.control.answer(self.command, path, query, body)
        now = self.server.world.clock.now()
        self.wfile.write(head(self, now, status, len(answer), {}) + answer)

    def _serve_api(self, path: str, query: str, body: bytes) -> None:
        world, headers = self.server.world, self.headers
        encoded = '&'.join(filter(None, (query, body.decode(errors='replace'))))
        request = Request(
            'req_' + random_text(14), self.command, path, encoded, forms.flatten(encoded),
            headers.get('Authorization'), headers.get('Idempotency-Key'),
            headers.get('Stripe-Version'), headers.get('User-Agent'))
        world.log.add(request)
        wire = Wire(self, world, request)
        fault = world.faults.take(request)
        if fault:
            misbehave(fault, self.server.api, request, wire)
        else:
            wire.send(self.server.api.answer(request))

    def log_message(self, *_: Any) -> None:
        """Quiet: tests read the request log."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, world: World, tls: Optional[ssl.SSLContext] = None,
                 record: Optional[Record] = None) -> None:
        super().__init__(('127.0.0.1', port), Handler)
        self.world, self.api, self.control = world, Api(world, record), Control(world)
        self._tls = tls

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True,
                                               do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may vanish at any time; everything else is our fault."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
