"""The account behind a key: GET /v1/account."""
from __future__ import annotations

from store import Store


def account(store: Store) -> dict:
    return {
        'id': store.account,
        'object': 'account',
        'business_profile': {'name': 'Sandbox', 'url': None},
        'business_type': 'company',
        'capabilities': {'card_payments': 'active', 'transfers': 'active'},
        'charges_enabled': True,
        'country': 'US',
        'created': 1721954054,
        'default_currency': 'usd',
        'details_submitted': True,
        'email': 'owner@example.com',
        'metadata': {},
        'payouts_enabled': True,
        'settings': {
            'branding': {'icon': None, 'logo': None, 'primary_color': None,
                         'secondary_color': None},
            'card_payments': {'statement_descriptor_prefix': None,
                              'statement_descriptor_prefix_kana': None,
                              'statement_descriptor_prefix_kanji': None},
            'dashboard': {'display_name': 'Sandbox', 'timezone': 'Etc/UTC'},
            'payments': {'statement_descriptor': None, 'statement_descriptor_kana': None,
                         'statement_descriptor_kanji': None},
        },
        'type': 'standard',
    }
