"""Coupons (stripe.md section 6)."""
from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Union

import redemption
from errors import exclusive, invalid, missing, refused
from forms import join
from resource import Call, Resource, check_deadline, must_exist
from store import random_text
from validate import (Currency, CurrencyMap, Enum, Hash, Integer, ListOf, Metadata, Number, Param,
                      Range, Text, check_amount, merged_metadata)

_CURRENCY_OPTIONS = CurrencyMap({'amount_off': Integer(minimum=1, required=True)})


class Coupons(Resource):
    kind, path, url_param = 'coupon', 'coupons', 'coupon'
    filters = {'created': Range()}
    update_params = {
        'name': Text(max_length=40, clearable=True),
        'metadata': Metadata(),
        'currency_options': _CURRENCY_OPTIONS,
    }

    def create_params(self, version: str) -> dict[str, Param]:
        return {
            **self.update_params,
            'id': Text(),
            'percent_off': Number(),
            'amount_off': Integer(minimum=1),
            'currency': Currency(),
            'duration': Enum('forever', 'once', 'repeating'),
            'duration_in_months': Integer(minimum=1),
            'max_redemptions': Integer(minimum=1),
            'redeem_by': Integer(),
            'applies_to': Hash({'products': ListOf(Text())}),
        }

    def create(self, call: Call, p: dict) -> dict:
        self._check_terms(call, p)
        obj = {
            'id': p.get('id') or random_text(8),
            'object': 'coupon',
            'amount_off': p.get('amount_off'),
            'created': int(call.now),
            'currency': p.get('currency'),
            'duration': p.get('duration', 'once'),
            'duration_in_months': p.get('duration_in_months'),
            'livemode': call.store.livemode,
            'max_redemptions': p.get('max_redemptions'),
            'metadata': merged_metadata({}, p.get('metadata')),
            'name': p.get('name'),
            'percent_off': self._percent(call, p['percent_off']) if 'percent_off' in p else None,
            'redeem_by': p.get('redeem_by'),
            'times_redeemed': 0,
            'valid': True,
        }
        self._check_id(call, obj['id'])
        products = p.get('applies_to', {}).get('products')
        if products:
            for i, product in enumerate(products):
                must_exist(call, 'product', product, f'applies_to[products][{i}]')
            obj['applies_to'] = {'products': products}
        if 'amount_off' in p:
            obj['currency_options'] = self._currency_options(call, p)
        redemption.watch(call, obj, obj['redeem_by'])
        return obj

    def update(self, call: Call, obj: dict, p: dict) -> None:
        if 'currency_options' in p:
            if obj['amount_off'] is None:
                raise invalid('Currency options need an amount.', 'currency_options')
            _check_options(p['currency_options'])
            obj['currency_options'].update(p['currency_options'])
        if 'name' in p:
            obj['name'] = p['name']
        if 'metadata' in p:
            obj['metadata'] = merged_metadata(obj['metadata'], p['metadata'])

    def delete(self, call: Call, obj: dict) -> None:
        redemption.invalidate(call, obj,
                              tell=call.config['promotion_code_updated_on_coupon_delete'])

    @staticmethod
    def _check_terms(call: Call, p: dict) -> None:
        if 'percent_off' in p and 'amount_off' in p:
            raise exclusive('amount_off', 'percent_off')
        if 'percent_off' in p:
            for name in ('currency', 'currency_options'):
                if name in p:
                    raise invalid(f'{name} may only be used with amount_off.', name)
        elif 'amount_off' in p:
            if 'currency' not in p:
                raise missing('currency')
            check_amount(p['amount_off'], p['currency'], 'amount_off')
            _check_options(p.get('currency_options', {}))
        else:
            raise missing('percent_off')
        duration = p.get('duration', 'once')
        if duration == 'repeating' and 'duration_in_months' not in p:
            # Stripe names the other parameter.
            raise invalid('duration_in_months is required when duration is repeating.', 'duration')
        if duration != 'repeating' and 'duration_in_months' in p:
            raise invalid('duration_in_months may only be used with duration repeating.',
                          'duration_in_months')
        if (duration == 'forever' and 'amount_off' in p
                and call.config['forever_amount_off'] == 'refuse'):
            raise invalid('duration forever may not be used with amount_off.', 'duration')
        if 'redeem_by' in p:
            check_deadline(p['redeem_by'], call.now, 'redeem_by')

    @staticmethod
    def _percent(call: Call, percent: Decimal) -> Union[int, float]:
        hundredth = Decimal('0.01')
        rounded = percent.quantize(hundredth, ROUND_HALF_UP) if abs(percent) < 1000 else percent
        if rounded != percent and call.config['third_percent_decimal'] == 'refuse':
            raise invalid('Invalid decimal: percent_off takes at most two decimals.', 'percent_off')
        if not hundredth <= percent <= 100:
            raise invalid('percent_off must be greater than 0 and at most 100.', 'percent_off')
        return int(rounded) if rounded == int(rounded) else float(rounded)

    @staticmethod
    def _check_id(call: Call, id: str) -> None:
        if call.config['coupon_id_characters'] == 'safe':
            Text(pattern='[A-Za-z0-9_-]+').parse(id, 'id')
        coupons = call.store['coupon']
        reusable = call.config['deleted_coupon_id_reuse'] == 'allow'
        if id in coupons or (id in coupons.deleted and not reusable):
            raise refused('Coupon already exists.', code='resource_already_exists')

    @staticmethod
    def _currency_options(call: Call, p: dict) -> dict:
        options = dict(p.get('currency_options', {}))
        if call.config['currency_options_base'] == 'include':
            options[p['currency']] = {'amount_off': p['amount_off']}
        return options


def _check_options(options: dict) -> None:
    for currency, entry in options.items():
        check_amount(entry['amount_off'], currency,
                     join(join('currency_options', currency), 'amount_off'))
