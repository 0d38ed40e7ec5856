"""Customers: as much of them as promotion codes need for their `customer` restriction."""
from __future__ import annotations

from typing import Callable

from resource import Call, Resource, matching
from store import random_text
from validate import Metadata, Param, Range, Text, merged_metadata

_FIELDS = ('description', 'email', 'name', 'phone')


class Customers(Resource):
    kind, path = 'customer', 'customers'
    filters = {'created': Range(), 'email': Text()}
    update_params = {**{name: Text(clearable=True) for name in _FIELDS}, 'metadata': Metadata()}

    def create_params(self, version: str) -> dict[str, Param]:
        return self.update_params

    def create(self, call: Call, p: dict) -> dict:
        return {
            'id': 'cus_' + random_text(14),
            'object': 'customer',
            'address': None,
            'balance': 0,
            'created': int(call.now),
            'currency': None,
            'default_source': None,
            'delinquent': False,
            'discount': None,
            **{name: p.get(name) for name in _FIELDS},
            'invoice_settings': {'custom_fields': None, 'default_payment_method': None,
                                 'footer': None, 'rendering_options': None},
            'livemode': call.store.livemode,
            'metadata': merged_metadata({}, p.get('metadata')),
            'preferred_locales': [],
            'shipping': None,
            'tax_exempt': 'none',
            'test_clock': None,
        }

    def update(self, call: Call, obj: dict, p: dict) -> None:
        for name in _FIELDS:
            if name in p:
                obj[name] = p[name]
        if 'metadata' in p:
            obj['metadata'] = merged_metadata(obj['metadata'], p['metadata'])

    def delete(self, call: Call, obj: dict) -> None:
        pass

    def keep(self, call: Call, p: dict) -> Callable[[dict], bool]:
        return matching(p, 'email')
