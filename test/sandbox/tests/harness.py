"""One sandbox for all tests, reset before each."""
from __future__ import annotations

import atexit
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import unittest
from typing import Any, Dict, Optional
from urllib.parse import urlencode

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'stripe_sandbox.py')
KEY = 'sk_test_0123456789'
LIVE_KEY = 'sk_live_0123456789'
OLD = '2025-08-27.basil'  # the last version before clover
DAY = 24 * 3600


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sandbox:
    """A sandbox process; its first line tells the port."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen([sys.executable, PROGRAM, '--port', '0', *options],
                                        stdout=subprocess.PIPE, text=True)
        self.banner = self.process.stdout.readline()
        self.port = int(self.banner.rsplit(':', 1)[1])
        self.connection = self.connect()

    def connect(self, timeout: float = 10) -> http.client.HTTPConnection:
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.connection.close()
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(10)

    def request(self, method: str, path: str, params: Optional[dict] = None,
                headers: Optional[Dict[str, str]] = None, key: Optional[str] = KEY,
                connection: Optional[http.client.HTTPConnection] = None) -> Reply:
        encoded = urlencode(params or {})
        body = None
        if method == 'POST':
            body = encoded.encode()
        elif encoded:
            path += '?' + encoded
        headers = dict(headers or {})
        if body is not None:
            headers['Content-Type'] = 'application/x-www-form-urlencoded'
        if key:
            headers['Authorization'] = f'Bearer {key}'
        connection = connection or self.connection
        try:
            connection.request(method, path, body, headers)
            return Reply(connection.getresponse())
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def control(self, method: str, path: str, body: Optional[dict] = None,
                status: int = 200) -> Any:
        connection = self.connect()
        connection.request(method, '/_sandbox/' + path, json.dumps(body or {}))
        reply = Reply(connection.getresponse())
        connection.close()
        assert reply.status == status, (reply.status, reply.body)
        return reply.json


_shared: Optional[Sandbox] = None


def shared() -> Sandbox:
    global _shared
    if _shared is None:
        _shared = Sandbox()
        atexit.register(_shared.stop)
    return _shared


class SandboxTest(unittest.TestCase):
    def setUp(self) -> None:
        self.sandbox = shared()
        self.control('POST', 'reset')

    def control(self, method: str, path: str, body: Optional[dict] = None,
                status: int = 200) -> Any:
        return self.sandbox.control(method, path, body, status)

    def request(self, method: str, path: str, params: Optional[dict] = None,
                **options: Any) -> Reply:
        return self.sandbox.request(method, '/v1/' + path, params, **options)

    def ok(self, method: str, path: str, params: Optional[dict] = None, **options: Any) -> Any:
        reply = self.request(method, path, params, **options)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json

    def get(self, path: str, params: Optional[dict] = None, **options: Any) -> Any:
        return self.ok('GET', path, params, **options)

    def post(self, path: str, params: Optional[dict] = None, **options: Any) -> Any:
        return self.ok('POST', path, params, **options)

    def refused(self, method: str, path: str, params: Optional[dict] = None, *, param: Any = None,
                code: Any = None, status: int = 400, **options: Any) -> dict:
        """The request is refused with exactly this code and param."""
        reply = self.request(method, path, params, **options)
        error = reply.json.get('error', {})
        self.assertEqual((reply.status, error.get('code'), error.get('param')),
                         (status, code, param), reply.body)
        self.assertTrue(error['message'])
        return error

    def coupon(self, **values: Any) -> dict:
        if 'amount_off' not in values:
            values.setdefault('percent_off', 50)
        return self.post('coupons', values)

    def code(self, coupon: str, params: Optional[dict] = None, **values: Any) -> dict:
        return self.post('promotion_codes', {'promotion[type]': 'coupon',
                                             'promotion[coupon]': coupon,
                                             **(params or {}), **values})

    def refused_code(self, coupon: str, params: dict, **expected: Any) -> dict:
        return self.refused('POST', 'promotion_codes', {
            'promotion[type]': 'coupon', 'promotion[coupon]': coupon, **params}, **expected)

    def events(self, **filters: Any) -> list:
        """Oldest first."""
        return self.get('events', {'limit': 100, **filters})['data'][::-1]

    def now(self) -> int:
        return int(self.control('GET', 'clock')['now'])

    def advance(self, seconds: float) -> None:
        self.control('POST', 'clock', {'advance': seconds})

    def config(self, **values: Any) -> None:
        self.control('POST', 'config', values)

    def fault(self, fault: str, **rule: Any) -> None:
        self.control('POST', 'faults', {'fault': fault, **rule})

    def log(self, query: str = '') -> list:
        return self.control('GET', 'requests' + query)['requests']

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline, 'waited in vain')
