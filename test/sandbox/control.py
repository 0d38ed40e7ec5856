"""/_sandbox/: what tests ask of the sandbox (README.md has examples)."""
from __future__ import annotations

import json
from typing import Any, Callable, Dict, Optional, Tuple
from urllib.parse import parse_qsl

import redemption
from api import RESOURCES
from errors import StripeError
from keys import DEFAULT_ACCOUNT
from resource import Call
from world import World

Query = Dict[str, str]


class Control:
    def __init__(self, world: World) -> None:
        self.world = world
        self._routes: Dict[Tuple[str, str], Callable[[Query, dict], Any]] = {
            ('GET', 'requests'): self._requests,
            ('DELETE', 'requests'): self._forget_requests,
            ('GET', 'faults'): self._faults,
            ('POST', 'faults'): self._add_fault,
            ('DELETE', 'faults'): self._clear_faults,
            ('POST', 'faults/release'): self._release,
            ('POST', 'redeem'): self._redeem,
            ('GET', 'clock'): self._clock,
            ('POST', 'clock'): self._move_clock,
            ('POST', 'keys'): self._key,
            ('GET', 'config'): self._config,
            ('POST', 'config'): self._configure,
            ('GET', 'state'): self._state,
            ('POST', 'reset'): self._reset,
        }

    def answer(self, method: str, path: str, query: str, body: bytes) -> Tuple[int, bytes]:
        route = self._routes.get((method, path))
        if route is None:
            return 404, _encode({'error': f'no such control: {method} /_sandbox/{path}'})
        try:
            return 200, _encode(route(dict(parse_qsl(query)), json.loads(body or b'{}')))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return 400, _encode({'error': f'{type(error).__name__}: {error}'})
        except StripeError as error:
            return error.status, _encode({'error': error.message})

    def _requests(self, query: Query, _: dict) -> Any:
        return {'requests': self.world.log.select(int(query.get('since', 0)), query.get('method'),
                                                  query.get('path'))}

    def _forget_requests(self, *_: Any) -> Any:
        self.world.log.clear()
        return {}

    def _faults(self, *_: Any) -> Any:
        return {'faults': self.world.faults.entries(), 'stalled': self.world.faults.stalled}

    def _add_fault(self, _: Query, body: dict) -> Any:
        return {'id': self.world.faults.add(body)}

    def _clear_faults(self, *_: Any) -> Any:
        self.world.faults.clear()
        return {}

    def _release(self, *_: Any) -> Any:
        self.world.faults.release()
        return {}

    def _redeem(self, _: Query, body: dict) -> Any:
        """Redeem a code (by text or id), or a coupon directly."""
        with self.world.lock:
            call = self._call(body)
            code = _code(call, body)
            coupon = call.store['coupon'].get(
                code['promotion']['coupon'] if code else body.get('coupon', ''))
            if coupon is None:
                raise StripeError(400, 'No such coupon.')
            redemption.redeem(call, coupon, code, body.get('customer'), body.get('times', 1))
            return {'coupon': coupon, 'promotion_code': code}

    def _clock(self, *_: Any) -> Any:
        return {'now': self.world.clock.now()}

    def _move_clock(self, _: Query, body: dict) -> Any:
        with self.world.lock:
            if 'set' in body:
                self.world.clock.set(float(body['set']))
            self.world.clock.advance(float(body.get('advance', 0)))
        return self._clock()

    def _key(self, _: Query, body: dict) -> Any:
        values = {name: body[name] for name in ('revoked', 'forbid', 'account', 'named')
                  if name in body}
        with self.world.lock:
            key = self.world.keys.set(body['key'], values)
        return {'account': key.account, 'livemode': key.livemode, 'revoked': key.revoked,
                'forbid': key.forbid}

    def _config(self, *_: Any) -> Any:
        return self.world.config.values

    def _configure(self, _: Query, body: dict) -> Any:
        with self.world.lock:
            self.world.config.update(body)
        return self.world.config.values

    def _state(self, query: Query, _: dict) -> Any:
        """All objects, newest first, with their hidden fields; references stay ids."""
        wanted: Optional[str] = query.get('object')
        if wanted and wanted not in RESOURCES:
            raise ValueError(f'object: one of {sorted(RESOURCES)}')
        query['livemode'] = query.get('livemode') == 'true'
        with self.world.lock:
            store = self._call(query).store
            # Copied under the lock.
            return json.loads(json.dumps({
                path: list(store[resource.kind].newest_first())
                for path, resource in RESOURCES.items() if wanted in (None, path)}))

    def _reset(self, *_: Any) -> Any:
        self.world.reset()
        return {}

    def _call(self, where: dict) -> Call:
        """On the default account's test objects, unless `account` or `livemode` say otherwise."""
        store = self.world.store(where.get('account', DEFAULT_ACCOUNT),
                                 bool(where.get('livemode', False)))
        call = self.world.call(store)
        redemption.settle(call)
        return call


def _code(call: Call, body: dict) -> Optional[dict]:
    codes = call.store['promotion_code']
    if 'promotion_code' in body:
        code = codes.get(body['promotion_code'])
    elif 'code' in body:
        text, customer = body['code'].lower(), body.get('customer')
        same = [code for code in codes.newest_first() if code['code'].lower() == text]
        # The active one of that text that the customer may use, else any for the refusal.
        same.sort(key=lambda code: not (code['active'] and code['customer'] in (None, customer)))
        code = same[0] if same else None
    else:
        return None
    if code is None:
        raise StripeError(400, 'No such promotion code.')
    return code


def _encode(body: Any) -> bytes:
    return json.dumps(body).encode()
