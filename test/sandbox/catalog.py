"""Products and prices (stripe.md sections 5, 8.1 and 10)."""
from __future__ import annotations

from decimal import Decimal
from typing import Callable, Optional

import events
from errors import exclusive, invalid, missing, refused
from forms import join
from resource import Call, Resource, matching, must_exist
from store import random_text
from validate import (Boolean, Currency, CurrencyMap, Enum, Hash, Integer, ListOf, Metadata, Number,
                      Param, Range, Text, check_amount, merged_metadata)

_AMOUNTS = {'unit_amount': Integer(minimum=0), 'unit_amount_decimal': Number()}
_TAX_BEHAVIOR = Enum('exclusive', 'inclusive', 'unspecified')
_TIERS = ListOf(Hash({**_AMOUNTS, 'up_to': Text(required=True),
                      'flat_amount': Integer(minimum=0), 'flat_amount_decimal': Number()}))
_CUSTOM_AMOUNT = Hash({'enabled': Boolean(required=True), 'minimum': Integer(minimum=0),
                       'maximum': Integer(minimum=0), 'preset': Integer(minimum=0)})
_CURRENCY_OPTIONS = CurrencyMap({**_AMOUNTS, 'tax_behavior': _TAX_BEHAVIOR, 'tiers': _TIERS,
                                 'custom_unit_amount': _CUSTOM_AMOUNT})
_RECURRING = Hash({
    'interval': Enum('day', 'month', 'week', 'year', required=True),
    'interval_count': Integer(minimum=1),
    'meter': Text(),
    'trial_period_days': Integer(minimum=1),
    'usage_type': Enum('licensed', 'metered'),
})
_PRICE_OF_PRODUCT = Hash({
    **_AMOUNTS,
    'currency': Currency(required=True),
    'currency_options': _CURRENCY_OPTIONS,
    'custom_unit_amount': _CUSTOM_AMOUNT,
    'metadata': Metadata(),
    'recurring': _RECURRING,
    'tax_behavior': _TAX_BEHAVIOR,
})
_PRODUCT_OF_PRICE = Hash({
    'id': Text(),
    'active': Boolean(),
    'metadata': Metadata(),
    'name': Text(required=True),
    'statement_descriptor': Text(max_length=22),
    'tax_code': Text(),
    'unit_label': Text(),
})


class Products(Resource):
    kind, path = 'product', 'products'
    filters = {'active': Boolean(), 'created': Range(), 'ids': ListOf(Text()),
               'shippable': Boolean(), 'type': Enum('good', 'service'), 'url': Text()}
    update_params = {
        'active': Boolean(),
        'default_price': Text(clearable=True),
        'description': Text(clearable=True),
        'images': ListOf(Text(), max_items=8, clearable=True),
        'marketing_features': ListOf(Hash({'name': Text(required=True)}), max_items=15,
                                     clearable=True),
        'metadata': Metadata(),
        'name': Text(),
        'shippable': Boolean(),
        'statement_descriptor': Text(max_length=22),
        'tax_code': Text(clearable=True),
        'unit_label': Text(clearable=True),
        'url': Text(clearable=True),
    }

    def create_params(self, version: str) -> dict[str, Param]:
        params = {**self.update_params, 'id': Text(), 'name': Text(required=True),
                  'type': Enum('good', 'service'), 'default_price_data': _PRICE_OF_PRODUCT}
        del params['default_price']
        return params

    def create(self, call: Call, p: dict) -> dict:
        obj = new_product(call, p)
        if 'default_price_data' in p:
            price = new_price(call, p['default_price_data'], obj['id'], 'default_price_data')
            obj['default_price'] = price['id']
            call.store['price'].add(price)
            events.emit(call, 'price.created', price)
        return obj

    def update(self, call: Call, obj: dict, p: dict) -> None:
        if p.get('default_price'):
            price = must_exist(call, 'price', p['default_price'], 'default_price')
            if price['product'] != obj['id']:
                raise refused('The price belongs to another product.', 'default_price')
        for name, value in p.items():
            if name == 'metadata':
                obj['metadata'] = merged_metadata(obj['metadata'], value)
            elif name in ('images', 'marketing_features'):
                obj[name] = value or []
            else:
                obj[name] = value
        obj['updated'] = int(call.now)

    def delete(self, call: Call, obj: dict) -> None:
        if any(price['product'] == obj['id'] for price in call.store['price'].newest_first()):
            raise refused('This product cannot be deleted because it has one or more '
                          'user-created prices.')

    def keep(self, call: Call, p: dict) -> Callable[[dict], bool]:
        same = matching(p, 'active', 'shippable', 'type', 'url')
        ids = set(p['ids']) if 'ids' in p else None
        return lambda obj: same(obj) and (ids is None or obj['id'] in ids)


class Prices(Resource):
    kind, path = 'price', 'prices'
    url_param = 'price'
    filters = {
        'active': Boolean(), 'created': Range(), 'currency': Currency(), 'product': Text(),
        'type': Enum('one_time', 'recurring'), 'lookup_keys': ListOf(Text(), max_items=10),
        'recurring': Hash({'interval': Enum('day', 'month', 'week', 'year'), 'meter': Text(),
                           'usage_type': Enum('licensed', 'metered')}),
    }
    update_params = {
        'active': Boolean(),
        'currency_options': _CURRENCY_OPTIONS,
        'lookup_key': Text(max_length=200, clearable=True),
        'metadata': Metadata(),
        'nickname': Text(clearable=True),
        'tax_behavior': _TAX_BEHAVIOR,
        'transfer_lookup_key': Boolean(),
    }

    def create_params(self, version: str) -> dict[str, Param]:
        return {
            **self.update_params,
            **_PRICE_OF_PRODUCT.fields,
            'billing_scheme': Enum('per_unit', 'tiered'),
            'product': Text(),
            'product_data': _PRODUCT_OF_PRICE,
            'tiers': _TIERS,
            'tiers_mode': Enum('graduated', 'volume'),
            'transform_quantity': Hash({'divide_by': Integer(minimum=1, required=True),
                                        'round': Enum('down', 'up', required=True)}),
        }

    def create(self, call: Call, p: dict) -> dict:
        if 'product' in p and 'product_data' in p:
            raise exclusive('product', 'product_data')
        if 'product_data' in p:
            product = new_product(call, p['product_data'])
        elif 'product' in p:
            product = must_exist(call, 'product', p['product'], 'product')
        else:
            raise missing('product')
        obj = new_price(call, p, product['id'])
        _take_lookup_key(call, obj, p)
        if 'product_data' in p:
            call.store['product'].add(product)
            events.emit(call, 'product.created', product)
        return obj

    def update(self, call: Call, obj: dict, p: dict) -> None:
        _take_lookup_key(call, obj, p)
        for name in ('active', 'nickname', 'tax_behavior'):
            if name in p:
                obj[name] = p[name]
        if 'metadata' in p:
            obj['metadata'] = merged_metadata(obj['metadata'], p['metadata'])
        for currency, entry in p.get('currency_options', {}).items():
            obj['currency_options'][currency] = _option(entry, currency)

    def keep(self, call: Call, p: dict) -> Callable[[dict], bool]:
        # Without the filter, only active prices are listed (section 5).
        same = matching({'active': True, **p}, 'active', 'currency', 'product', 'type')
        recurs = matching(p.get('recurring', {}), 'interval', 'meter', 'usage_type')
        keys = p.get('lookup_keys')
        return lambda obj: (same(obj) and (keys is None or obj['lookup_key'] in keys)
                            and ('recurring' not in p
                                 or obj['recurring'] is not None and recurs(obj['recurring'])))


def new_product(call: Call, p: dict) -> dict:
    id = p.get('id') or 'prod_' + random_text(14)
    if id in call.store['product']:
        raise refused('Product already exists.', code='resource_already_exists')
    return {
        'id': id,
        'object': 'product',
        'active': p.get('active', True),
        'created': int(call.now),
        'default_price': None,
        'description': p.get('description'),
        'images': p.get('images') or [],
        'livemode': call.store.livemode,
        'marketing_features': p.get('marketing_features') or [],
        'metadata': merged_metadata({}, p.get('metadata')),
        'name': p['name'],
        'package_dimensions': None,
        'shippable': p.get('shippable'),
        'statement_descriptor': p.get('statement_descriptor'),
        'tax_code': p.get('tax_code'),
        'type': p.get('type', 'service'),
        'unit_label': p.get('unit_label'),
        'updated': int(call.now),
        'url': p.get('url'),
    }


def new_price(call: Call, p: dict, product: str, parent: str = '') -> dict:
    scheme = p.get('billing_scheme', 'per_unit')
    tiered = scheme == 'tiered'
    if tiered:
        for name in ('tiers', 'tiers_mode'):
            if name not in p:
                raise missing(join(parent, name))
    elif 'tiers' in p:
        raise invalid('tiers may only be used with billing_scheme tiered.', join(parent, 'tiers'))
    amounts = _amounts(p, p['currency'], parent, required=not tiered)
    recurring = p.get('recurring')
    obj = {
        'id': 'price_' + random_text(24),
        'object': 'price',
        'active': p.get('active', True),
        'billing_scheme': scheme,
        'created': int(call.now),
        'currency': p['currency'],
        'custom_unit_amount': _custom(p),
        'livemode': call.store.livemode,
        'lookup_key': None,
        'metadata': merged_metadata({}, p.get('metadata')),
        'nickname': p.get('nickname'),
        'product': product,
        'recurring': recurring and {
            'interval': recurring['interval'],
            'interval_count': recurring.get('interval_count', 1),
            'meter': recurring.get('meter'),
            'trial_period_days': recurring.get('trial_period_days'),
            'usage_type': recurring.get('usage_type', 'licensed'),
        },
        'tax_behavior': p.get('tax_behavior', 'unspecified'),
        'tiers_mode': p.get('tiers_mode'),
        'transform_quantity': p.get('transform_quantity'),
        'type': 'recurring' if recurring else 'one_time',
        **amounts,
    }
    if tiered:
        obj['tiers'] = [_tier(tier, f'tiers[{i}]') for i, tier in enumerate(p['tiers'])]
    obj['currency_options'] = {
        currency: _option(entry, currency)
        for currency, entry in {p['currency']: p, **p.get('currency_options', {})}.items()}
    return obj


def _amounts(p: dict, currency: str, parent: str = '', required: bool = True) -> dict:
    """unit_amount is null when the decimal one is not whole (section 8)."""
    amount, exact = p.get('unit_amount'), p.get('unit_amount_decimal')
    if amount is not None and exact is not None:
        raise exclusive(join(parent, 'unit_amount'), join(parent, 'unit_amount_decimal'))
    if amount is None and exact is None:
        if required and 'custom_unit_amount' not in p:
            raise missing(join(parent, 'unit_amount'))
        return {'unit_amount': None, 'unit_amount_decimal': None}
    if exact is None:
        check_amount(amount, currency, join(parent, 'unit_amount'))
        exact = Decimal(amount)
    whole = exact == exact.to_integral_value()
    return {'unit_amount': int(exact) if whole else None,
            'unit_amount_decimal': str(int(exact)) if whole else format(exact.normalize(), 'f')}


def _custom(p: dict) -> Optional[dict]:
    custom = p.get('custom_unit_amount')
    return custom and {name: custom.get(name) for name in ('maximum', 'minimum', 'preset')}


def _tier(tier: dict, path: str) -> dict:
    flat = {'unit_amount': tier.get('flat_amount'),
            'unit_amount_decimal': tier.get('flat_amount_decimal')}
    flat = _amounts(flat, 'usd', path, required=False)
    up_to = None if tier['up_to'] == 'inf' else Integer(minimum=1).parse(
        tier['up_to'], join(path, 'up_to'))
    return {'flat_amount': flat['unit_amount'],
            'flat_amount_decimal': flat['unit_amount_decimal'],
            **_amounts(tier, 'usd', path, required=False), 'up_to': up_to}


def _option(entry: dict, currency: str) -> dict:
    option = {'custom_unit_amount': _custom(entry),
              'tax_behavior': entry.get('tax_behavior', 'unspecified'),
              **_amounts(entry, currency, f'currency_options[{currency}]', required=False)}
    if 'tiers' in entry:
        option['tiers'] = [_tier(tier, f'currency_options[{currency}][tiers][{i}]')
                           for i, tier in enumerate(entry['tiers'])]
    return option


def _take_lookup_key(call: Call, obj: dict, p: dict) -> None:
    """One price per lookup key, unless the key is moved here."""
    if 'lookup_key' not in p:
        return
    key = p['lookup_key']
    if key is not None:
        for other in call.store['price'].newest_first():
            if other['lookup_key'] == key and other['id'] != obj['id']:
                if not p.get('transfer_lookup_key'):
                    raise refused(f'A price (`{other["id"]}`) already uses that lookup key.',
                                  'lookup_key')
                before = dict(other)
                other['lookup_key'] = None
                events.emit(call, 'price.updated', other, before)
    obj['lookup_key'] = key
