"""The API itself: authentication, idempotency, routing, execution."""
from __future__ import annotations

import copy
import json
import sys
import traceback
from typing import Callable, Dict, Optional
from urllib.parse import unquote

import account
import events
import forms
import listing
import redemption
import shapes
from catalog import Prices, Products
from config import is_version
from coupons import Coupons
from customers import Customers
from errors import StripeError, invalid, no_such, unrecognized_url
from faults import WorldReset
from idempotency import Answer
from keys import Key, authorise
from promotion_codes import PromotionCodes
from record import Record
from request_log import Request
from resource import Call, Resource
from validate import Hash, Param
from world import World

RESOURCES: Dict[str, Resource] = {resource.path: resource for resource in (
    Coupons(), PromotionCodes(), Products(), Prices(), Customers(), events.Events())}

Execution = Callable[[], Answer]


class Api:
    def __init__(self, world: World, record: Optional[Record] = None) -> None:
        self.world, self._record = world, record

    def answer(self, request: Request,
               around: Callable[[Execution], Answer] = lambda run: run()) -> Answer:
        """Answer a request. `around` wraps the execution (inside the idempotency layer)."""
        answer = self._answer(request, around)
        if self._record:
            self._record.add(request, self.world.config, answer)
        return answer

    def _answer(self, request: Request, around: Callable[[Execution], Answer]) -> Answer:
        livemode = False
        try:
            key = self.world.keys.authenticate(request.authorization)
            livemode = key.livemode
            authorise(key, request.method, request.path)
            return self._once(request, key, lambda: around(lambda: self._execute(request, key)))
        except StripeError as error:
            return _failure(error, request, livemode)

    def _once(self, request: Request, key: Key, run: Execution) -> Answer:
        """Only POST passes the idempotency layer; GET and DELETE are idempotent by themselves."""
        if request.method != 'POST' or not request.idempotency_key:
            return _guarded(run, request, key)[0]
        layer = self.world.idempotency
        scope = (key.account, key.livemode, request.idempotency_key)
        with self.world.lock:
            stored = layer.begin(scope, (request.path, request.params), self.world.clock.now())
        if stored:
            return stored
        answer, keep = _guarded(run, request, key)
        with self.world.lock:
            layer.finish(scope, answer if keep else None)
        return answer

    def _execute(self, request: Request, key: Key) -> Answer:
        with self.world.lock:
            store = self.world.store(key.account, key.livemode)
            version = request.stripe_version or self.world.config['api_version']
            if not is_version(version):
                raise invalid(f'Invalid Stripe API version: {version}')
            call = self.world.call(store, version, request_id=request.id,
                                   idempotency_key=request.idempotency_key)
            redemption.settle(call)
            return Answer(200, _encode(_dispatch(call, request)))


def _guarded(run: Execution, request: Request, key: Key) -> tuple[Answer, bool]:
    """The answer, and whether the idempotency layer keeps it."""
    try:
        return run(), True
    except StripeError as error:
        return _failure(error, request, key.livemode), error.stored
    except WorldReset:
        raise
    except Exception:
        traceback.print_exc(file=sys.stderr)
        fault = StripeError(500, 'The sandbox has a fault; see its standard error.',
                            type='api_error')
        return _failure(fault, request, key.livemode), False


def _failure(error: StripeError, request: Request, livemode: bool) -> Answer:
    return Answer(error.status, _encode(error.body(request.id, livemode)))


def _encode(body: dict) -> bytes:
    return json.dumps(body).encode()


def _dispatch(call: Call, request: Request) -> dict:
    method, path = request.method, request.path
    params = forms.nest(request.params)
    if (method, path) == ('GET', '/v1/account'):
        _read(params, {})
        return account.account(call.store)
    _, v1, *rest = path.split('/')
    resource = RESOURCES.get(rest[0]) if v1 == 'v1' and rest else None
    if resource is not None and len(rest) == 1:
        if method == 'GET':
            return _list(call, resource, params)
        if method == 'POST' and hasattr(resource, 'create'):
            return _create(call, resource, params)
    elif resource is not None and len(rest) == 2 and rest[1]:
        id = unquote(rest[1])
        if method == 'GET':
            return _retrieve(call, resource, id, params)
        if method == 'POST' and hasattr(resource, 'update'):
            return _update(call, resource, id, params)
        if method == 'DELETE' and hasattr(resource, 'delete'):
            return _delete(call, resource, id, params)
    raise unrecognized_url(method, path)


def _list(call: Call, resource: Resource, params: dict) -> dict:
    p = _read(params, {**resource.filters, **listing.CURSORS})
    expand = _expand(call, resource, p, in_list=True)
    found = listing.page(call, resource, p)
    found['data'] = [_shown(call, obj, expand) for obj in found['data']]
    return found


def _create(call: Call, resource: Resource, params: dict) -> dict:
    p = _read(params, resource.create_params(call.version))
    expand = _expand(call, resource, p)
    obj = resource.create(call, p)
    call.store[resource.kind].add(obj, call.config['same_second'])
    events.emit(call, f'{resource.kind}.created', obj)
    return _shown(call, obj, expand)


def _retrieve(call: Call, resource: Resource, id: str, params: dict) -> dict:
    expand = _expand(call, resource, _read(params, {}))
    if resource.kind == 'customer' and id in call.store['customer'].deleted:
        return _marker(resource, id)  # the one kind that answers 200 (section 10)
    return _shown(call, _find(call, resource, id), expand)


def _update(call: Call, resource: Resource, id: str, params: dict) -> dict:
    p = _read(params, resource.update_params)
    expand = _expand(call, resource, p)
    obj = _find(call, resource, id)
    before, after = dict(obj), copy.deepcopy(obj)
    resource.update(call, after, p)
    obj.clear()
    obj.update(after)
    if _differ(before, after):
        events.emit(call, f'{resource.kind}.updated', obj, before)
    return _shown(call, obj, expand)


def _delete(call: Call, resource: Resource, id: str, params: dict) -> dict:
    _read(params, {})
    obj = _find(call, resource, id)
    resource.delete(call, obj)
    call.store[resource.kind].delete(id)
    events.emit(call, f'{resource.kind}.deleted', obj)
    return _marker(resource, id)


def _read(params: dict, fields: Dict[str, Param]) -> dict:
    return Hash({**fields, 'expand': shapes.EXPAND}).read(params, '')


def _expand(call: Call, resource: Resource, p: dict, in_list: bool = False) -> list:
    return shapes.check_expand(p.pop('expand', []), resource.kind, call.version, in_list)


def _find(call: Call, resource: Resource, id: str) -> dict:
    obj = call.store[resource.kind].get(id)
    if obj is None:
        raise no_such(resource.kind, id, resource.url_param, status=404)
    return obj


def _shown(call: Call, obj: dict, expand: list) -> dict:
    # Events keep the rendering of their creation, whatever version asks (section 11.2).
    return obj if obj['object'] == 'event' else shapes.present(call, obj, expand)


def _marker(resource: Resource, id: str) -> dict:
    return {'id': id, 'object': resource.kind, 'deleted': True}


def _differ(before: dict, after: dict) -> bool:
    return any(before[name] != after.get(name) for name in before if name != 'updated')
