"""The life of coupons and promotion codes: redeemed, exhausted, expired, deleted.

A coupon that became invalid makes all its codes inactive; a code that became inactive in one of
these ways can never be activated again (stripe.md sections 6 and 7).
"""
from __future__ import annotations

from heapq import heappop, heappush
from typing import Optional

import events
from errors import refused
from resource import Call


def watch(call: Call, obj: dict, deadline: Optional[int]) -> None:
    if deadline is not None:
        heappush(call.store.deadlines, (deadline, obj['object'], obj['id']))


def settle(call: Call) -> None:
    """Carry out what the clock has brought since the last call."""
    deadlines = call.store.deadlines
    while deadlines and deadlines[0][0] < call.now:
        deadline, kind, id = heappop(deadlines)
        obj = call.store[kind].get(id)
        if obj is None:
            continue
        if kind == 'promotion_code':
            finish(call, obj)
        elif obj['redeem_by'] == deadline:  # else: another coupon under a deleted one's id
            invalidate(call, obj)
    events.forget_old(call.store, call.now)


def activate(call: Call, code: dict) -> None:
    call.store.active_codes.setdefault(code['code'].lower(), set()).add(code['id'])


def deactivate(call: Call, code: dict) -> None:
    call.store.active_codes.get(code['code'].lower(), set()).discard(code['id'])


def finish(call: Call, code: dict) -> None:
    """The code becomes inactive for good; without an event, as far as is known."""
    call.store.finished_codes.add(code['id'])
    deactivate(call, code)
    code['active'] = False


def invalidate(call: Call, coupon: dict, tell: bool = False) -> None:
    coupon['valid'] = False
    for id in call.store.codes_of_coupon.pop(coupon['id'], ()):
        code = call.store['promotion_code'][id]
        before = dict(code)
        finish(call, code)
        if tell and before['active']:
            events.emit(call, 'promotion_code.updated', code, before)


def redeem(call: Call, coupon: dict, code: Optional[dict], customer: Optional[str],
           times: int) -> None:
    """Count redemptions, of a code or of the coupon directly. All of them or none."""
    if not coupon['valid']:
        raise refused(f'Coupon expired: {coupon["id"]}', code='coupon_expired')
    if code is not None:
        if not code['active']:
            raise refused('This promotion code is not active.')
        if code['customer'] not in (None, customer):
            raise refused('This promotion code belongs to another customer.')
    counted = [coupon] if code is None else [coupon, code]
    for obj in counted:
        if obj['max_redemptions'] and obj['times_redeemed'] + times > obj['max_redemptions']:
            raise refused(f'Not that many redemptions are left on {obj["id"]}.')
    before = dict(code) if code else None
    for obj in counted:
        obj['times_redeemed'] += times
    if code is not None and code['times_redeemed'] == code['max_redemptions']:
        finish(call, code)
    if coupon['times_redeemed'] == coupon['max_redemptions']:
        invalidate(call, coupon)
    if code is not None and call.config['promotion_code_updated_on_redemption']:
        events.emit(call, 'promotion_code.updated', code, before)
