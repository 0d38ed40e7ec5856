"""Settings of the sandbox, among them facts that stripe.md could not confirm.

The first choice of a switch is its default.
"""
from __future__ import annotations

import re
from typing import Any, Dict

CLOVER = '2025-09-30'
DEFAULT_VERSION = '2026-10-28.endive'
_VERSION = re.compile(r'\d{4}-\d{2}-\d{2}(\.[a-z]+)?')

SWITCHES: Dict[str, tuple] = {
    'third_percent_decimal': ('refuse', 'round'),
    'deleted_coupon_id_reuse': ('refuse', 'allow'),
    'deleted_coupon_expanded': ('coupon', 'marker'),
    'coupon_id_characters': ('safe', 'any'),
    'forever_amount_off': ('allow', 'refuse'),
    'currency_options_base': ('include', 'omit'),
    'deleted_cursor': ('refuse', 'accept'),
    'same_second': ('newest_first', 'by_id'),
    'minimum_amount_without_currency': ('refuse', 'allow'),
    'reactivation_clash': ('refuse', 'allow'),
    'promotion_code_updated_on_coupon_delete': (False, True),
    'promotion_code_updated_on_redemption': (False, True),
}


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


class Config:
    def __init__(self, api_version: str) -> None:
        self.values: Dict[str, Any] = {name: choices[0] for name, choices in SWITCHES.items()}
        self.values['api_version'] = api_version

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def switched(self) -> bool:
        return any(self[name] != choices[0] for name, choices in SWITCHES.items())

    def update(self, values: Dict[str, Any]) -> None:
        for name, value in values.items():
            if name == 'api_version':
                if not isinstance(value, str) or not is_version(value):
                    raise ValueError(f'api_version: not a version: {value!r}')
            elif name not in SWITCHES:
                raise ValueError(f'no such setting: {name}')
            elif value not in SWITCHES[name]:
                raise ValueError(f'{name}: one of {SWITCHES[name]}')
        self.values.update(values)
