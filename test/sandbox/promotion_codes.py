"""Promotion codes (stripe.md section 7)."""
from __future__ import annotations

import string
from typing import Callable, Optional

import redemption
from errors import exclusive, invalid, missing, refused
from forms import join
from resource import Call, Resource, check_deadline, matching, must_exist
from shapes import before_clover
from store import random_text
from validate import (Boolean, Currency, CurrencyMap, Enum, Hash, Integer, Metadata, Param, Range,
                      Text, check_amount, merged_metadata)

_MINIMUMS = CurrencyMap({'minimum_amount': Integer(minimum=1, required=True)})


class PromotionCodes(Resource):
    kind, path, url_param = 'promotion_code', 'promotion_codes', 'promotion_code'
    filters = {'active': Boolean(), 'code': Text(), 'coupon': Text(), 'created': Range(),
               'customer': Text(), 'customer_account': Text()}
    update_params = {
        'active': Boolean(),
        'metadata': Metadata(),
        'restrictions': Hash({'currency_options': _MINIMUMS}),
    }

    def create_params(self, version: str) -> dict[str, Param]:
        if before_clover(version):
            coupon = {'coupon': Text(required=True)}
        else:
            coupon = {'promotion': Hash({'type': Enum('coupon', required=True), 'coupon': Text()},
                                        required=True)}
        return {
            **coupon,
            'active': Boolean(),
            'code': Text(max_length=500, pattern='[A-Za-z0-9_-]+'),
            'customer': Text(),
            'customer_account': Text(),
            'expires_at': Integer(),
            'max_redemptions': Integer(minimum=1),
            'metadata': Metadata(),
            'restrictions': Hash({
                'first_time_transaction': Boolean(),
                'minimum_amount': Integer(minimum=1),
                'minimum_amount_currency': Currency(),
                'currency_options': _MINIMUMS,
            }),
        }

    def create(self, call: Call, p: dict) -> dict:
        if 'expires_at' in p:
            check_deadline(p['expires_at'], call.now, 'expires_at')
        if 'customer' in p and 'customer_account' in p:
            raise exclusive('customer', 'customer_account')
        restrictions = _restrictions(call, p.get('restrictions', {}))
        metadata = merged_metadata({}, p.get('metadata'))
        coupon = _coupon(call, p)
        if 'customer' in p:
            must_exist(call, 'customer', p['customer'], 'customer')
        obj = {
            'id': 'promo_' + random_text(24),
            'object': 'promotion_code',
            'active': p.get('active', True),
            'code': p.get('code') or random_text(8, string.ascii_uppercase + string.digits),
            'created': int(call.now),
            'customer': p.get('customer'),
            'customer_account': p.get('customer_account'),
            # Filled with the coupon's own limit.
            'expires_at': p.get('expires_at', coupon['redeem_by']),
            'livemode': call.store.livemode,
            'max_redemptions': p.get('max_redemptions'),
            'metadata': metadata,
            'promotion': {'coupon': coupon['id'], 'type': 'coupon'},
            'restrictions': restrictions,
            'times_redeemed': 0,
        }
        _check_within_coupon(obj, coupon)
        if obj['active']:
            _check_unique(call, obj)
            redemption.activate(call, obj)
        call.store.codes_of_coupon.setdefault(coupon['id'], []).append(obj['id'])
        redemption.watch(call, obj, obj['expires_at'])
        return obj

    def update(self, call: Call, obj: dict, p: dict) -> None:
        if 'metadata' in p:
            obj['metadata'] = merged_metadata(obj['metadata'], p['metadata'])
        minimums = p.get('restrictions', {}).get('currency_options')
        if minimums:
            merged = {**obj['restrictions'].get('currency_options', {}), **minimums}
            _check_minimums(merged, obj['restrictions']['minimum_amount_currency'])
            obj['restrictions']['currency_options'] = merged
        if p.get('active', obj['active']) != obj['active']:
            obj['active'] = p['active']
            if obj['active']:
                if obj['id'] in call.store.finished_codes:
                    raise refused('This promotion code cannot be activated: it has expired, is '
                                  'fully redeemed, or its coupon is not valid.', 'active')
                if call.config['reactivation_clash'] == 'refuse':
                    _check_unique(call, obj)
                redemption.activate(call, obj)
            else:
                redemption.deactivate(call, obj)

    def keep(self, call: Call, p: dict) -> Callable[[dict], bool]:
        if 'coupon' in p:
            must_exist(call, 'coupon', p['coupon'], 'coupon')
        same = matching(p, 'active', 'customer', 'customer_account')
        text: Optional[str] = p['code'].lower() if 'code' in p else None
        coupon = p.get('coupon')
        return lambda obj: (same(obj) and text in (None, obj['code'].lower())
                            and coupon in (None, obj['promotion']['coupon']))


def _coupon(call: Call, p: dict) -> dict:
    if 'coupon' in p:
        id, param = p['coupon'], 'coupon'
    else:
        id, param = p['promotion'].get('coupon'), 'promotion[coupon]'
        if id is None:
            raise missing(param)
    coupon = must_exist(call, 'coupon', id, param)
    if not coupon['valid']:
        raise refused(f'Coupon expired: {id}', param, 'coupon_expired')
    return coupon


def _restrictions(call: Call, p: dict) -> dict:
    amount, currency = p.get('minimum_amount'), p.get('minimum_amount_currency')
    for name, value, other in (('minimum_amount', amount, currency),
                               ('minimum_amount_currency', currency, amount)):
        if (value is None and other is not None
                and call.config['minimum_amount_without_currency'] == 'refuse'):
            raise missing(join('restrictions', name))
    if amount is not None and currency is not None:
        check_amount(amount, currency, 'restrictions[minimum_amount]')
    restrictions = {
        'first_time_transaction': p.get('first_time_transaction', False),
        'minimum_amount': amount,
        'minimum_amount_currency': currency,
    }
    if 'currency_options' in p:
        _check_minimums(p['currency_options'], currency)
        restrictions['currency_options'] = p['currency_options']
    return restrictions


def _check_minimums(options: dict, base: Optional[str]) -> None:
    """Minimums in currencies other than the first one."""
    parent = 'restrictions[currency_options]'
    if base is None:
        raise missing('restrictions[minimum_amount]')
    for currency, entry in options.items():
        if currency == base:
            raise invalid(f'{currency} is the currency of minimum_amount.', join(parent, currency))
        check_amount(entry['minimum_amount'], currency,
                     join(join(parent, currency), 'minimum_amount'))


def _check_within_coupon(obj: dict, coupon: dict) -> None:
    if coupon['redeem_by'] is not None and obj['expires_at'] > coupon['redeem_by']:
        raise refused("expires_at may not be after the coupon's redeem_by.", 'expires_at')
    limit, own = coupon['max_redemptions'], obj['max_redemptions']
    if limit is not None and own is not None and own > limit:
        raise refused("max_redemptions may not be above the coupon's.", 'max_redemptions')


def _check_unique(call: Call, obj: dict) -> None:
    """Among active codes: one public code per text, or one per customer, ignoring case."""
    owner = _owner(obj)
    for id in call.store.active_codes.get(obj['code'].lower(), ()):
        other = _owner(call.store['promotion_code'][id])
        if owner is None or other is None or owner == other:
            # The one error without code and param (section 2).
            raise refused(f'An active promotion code with `{obj["code"]}` already exists.')


def _owner(obj: dict) -> Optional[str]:
    return obj['customer'] or obj['customer_account']
