"""What each fault does to a request on the wire.

`api.answer()` executes (or replays); what a function does before it is lost before execution,
what it does after it is lost on the way back, with the answer kept by the idempotency layer.
"""
from __future__ import annotations

import gzip
import json
from typing import Callable, Dict

from api import Api
from errors import StripeError
from faults import Fault, WorldReset
from idempotency import Answer
from request_log import Request
from wire import Wire

_ERRORS: Dict[int, tuple] = {
    401: ('invalid_request_error', 'api_key_expired', 'Expired API Key provided.'),
    402: ('card_error', None, 'Your card was declined.'),
    403: ('invalid_request_error', None, 'The provided key lacks a required permission.'),
    409: ('invalid_request_error', 'idempotency_key_in_use',
          'There is currently another in-progress request using this Idempotent Key.'),
    429: ('rate_limit_error', 'rate_limit', 'Request rate limit exceeded.'),
}
_UNKNOWN = ('api_error', None, 'An unknown error occurred.')


def misbehave(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    request.fault = fault.name
    try:
        _CONDUCT[fault.name](fault, api, request, wire)
    except WorldReset:
        wire.reset()


def _status(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """Answer so. `execute`: having done the work; `stored`: the answer is kept for the key."""
    answer = _synthetic(fault, request, fault.get('status', 500))
    if fault.get('stored'):
        def instead(run: Callable[[], Answer]) -> Answer:
            if fault.get('execute'):
                try:
                    run()
                except StripeError:
                    pass
            return answer
        answer = api.answer(request, around=instead)
    elif fault.get('execute'):
        api.answer(request)
    wire.send(answer, fault.get('headers', {}))


def _in_flight(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    wire.send(_synthetic(fault, request, 409))


def _delay(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """A slow execution: meanwhile the idempotency key is in flight."""
    def slowly(run: Callable[[], Answer]) -> Answer:
        api.world.faults.stall(fault.seconds)
        return run()
    wire.send(api.answer(request, around=slowly))


def _stall_before_headers(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """A network that stalls: on the way back (`execute`), or on the way there.

    A request lost on the way there is executed late if its client still waits, else never.
    """
    answer = api.answer(request) if fault.get('execute') else None
    api.world.faults.stall(fault.seconds)
    if answer is None:
        if wire.client_gone():
            return wire.close()
        answer = api.answer(request)
    wire.send(answer)


def _stall_in_body(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    answer = api.answer(request)
    half = len(answer.body) // 2
    wire.send_part(answer, half)
    api.world.faults.stall(fault.seconds)
    wire.send_rest(answer.body[half:])


def _reset_before(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    wire.reset()


def _reset_after(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    api.answer(request)
    wire.reset()


def _truncate(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    answer = api.answer(request)
    wire.send_part(answer, len(answer.body) // 2)
    wire.close()


def _invalid_json(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    answer = api.answer(request)
    wire.send(Answer(answer.status, answer.body[:len(answer.body) // 2]))


def _big_body(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """The same JSON object with a member that makes it as long as asked for."""
    answer = api.answer(request)
    head, tail = answer.body[:-1] + b', "sandbox_padding": "', b'"}'
    padding = b'x' * max(0, fault.get('bytes', 16 << 20) - len(head) - len(tail))
    wire.send(Answer(answer.status, head + padding + tail))


def _gzip_bomb(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """An answer said to be compressed, though nobody asked for that: few bytes, much to unpack."""
    api.answer(request)
    body = gzip.compress(b' ' * fault.get('bytes', 64 << 20))
    wire.send(Answer(200, body), {'Content-Encoding': 'gzip'})


def _other_object(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """The work is done, and the answer is somebody else's: valid, and about another object."""
    answer = api.answer(request)
    other = {**json.loads(answer.body), 'id': fault.get('id', 'other'), 'code': 'OTHER'}
    wire.send(Answer(200, json.dumps(other).encode()))


def _redirect(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    wire.send(Answer(fault.get('status', 302), b''), {'Location': fault.get('location', '/')})


def _replay_mark(fault: Fault, api: Api, request: Request, wire: Wire) -> None:
    """Executed, yet marked as replayed: as if somebody had used the key before."""
    answer = api.answer(request)
    wire.send(Answer(answer.status, answer.body, replayed=True))


_CONDUCT = {
    'status': _status,
    'delay': _delay,
    'stall_before_headers': _stall_before_headers,
    'stall_in_body': _stall_in_body,
    'reset_before': _reset_before,
    'reset_after': _reset_after,
    'truncate': _truncate,
    'invalid_json': _invalid_json,
    'big_body': _big_body,
    'gzip_bomb': _gzip_bomb,
    'other_object': _other_object,
    'redirect': _redirect,
    '409_in_flight': _in_flight,
    'idempotency_replay_mark': _replay_mark,
}


def _synthetic(fault: Fault, request: Request, status: int) -> Answer:
    body = fault.get('body')
    if body is None:
        type, code, message = _ERRORS.get(status, _UNKNOWN)
        body = StripeError(status, message, type=type, code=code).body(request.id, False)
    return Answer(status, (body if isinstance(body, str) else json.dumps(body)).encode())
