"""Parameter types: each reads the decoded form value of one parameter or refuses it.

Stripe validates before it executes; a refusal here is not kept by the idempotency layer.
An empty value means "unset" and is refused where the parameter cannot be unset.
"""
from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Callable, Dict, Optional

from errors import invalid, missing, unknown
from forms import join

CURRENCIES = frozenset('''
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd
    cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel ghs gip gmd gnf
    gtq gyd hkd hnl hrk htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp
    lkr lrd lsl mad mdl mga mkd mmk mnt mop mro mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr
    pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb
    tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw
'''.split())
# Section 8.1: amounts of these are multiples of 10 and 100 of the unit sent.
_COARSE = {**dict.fromkeys(('bhd', 'jod', 'kwd', 'omr', 'tnd'), 10), 'isk': 100, 'ugx': 100}


def check_amount(amount: int, currency: str, param: str) -> None:
    step = _COARSE.get(currency, 1)
    if amount % step:
        raise invalid(f'Invalid integer: amounts in {currency} must be multiples of {step}', param)


class Param:
    """Base: `required` in its hash, `clearable` by an empty value (read as None)."""

    def __init__(self, required: bool = False, clearable: bool = False):
        self.required, self.clearable = required, clearable

    def read(self, value: Any, path: str) -> Any:
        if value == '':
            if self.clearable:
                return None
            raise invalid(f"You passed an empty string for '{path}'. We assume empty values are an "
                          f"attempt to unset a parameter; however '{path}' cannot be unset. You "
                          f"should remove '{path}' from your request or supply a non-empty value.",
                          path, 'parameter_invalid_empty')
        return self.parse(value, path)

    def parse(self, value: Any, path: str) -> Any:
        raise NotImplementedError


class Text(Param):
    def __init__(self, max_length: int = 5000, pattern: Optional[str] = None, **rules: bool):
        super().__init__(**rules)
        self.max_length = max_length
        self.pattern = re.compile(pattern) if pattern else None

    def parse(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise invalid(f'Invalid string: {value}', path)
        if not value.strip():
            raise invalid(f'Invalid string: {path} is blank', path,
                          'parameter_invalid_string_blank')
        if len(value) > self.max_length:
            raise invalid(f'Invalid string: {value[:20]}...; must be at most {self.max_length} '
                          'characters', path)
        if self.pattern and not self.pattern.fullmatch(value):
            raise invalid(f'Invalid string: {value}; must match the pattern '
                          f'`{self.pattern.pattern}`', path)
        return value


class Integer(Param):
    def __init__(self, minimum: Optional[int] = None, **rules: bool):
        super().__init__(**rules)
        self.minimum = minimum

    def parse(self, value: Any, path: str) -> int:
        if not isinstance(value, str) or not re.fullmatch(r'-?[0-9]{1,18}', value):
            raise invalid(f'Invalid integer: {value}', path, 'parameter_invalid_integer')
        number = int(value)
        if self.minimum is not None and number < self.minimum:
            raise invalid(f'This value must be greater than or equal to {self.minimum}.', path,
                          'parameter_invalid_integer')
        return number


class Number(Param):
    """A decimal, kept exact."""

    def parse(self, value: Any, path: str) -> Decimal:
        if not isinstance(value, str) or not re.fullmatch(r'-?[0-9]+(\.[0-9]+)?', value):
            raise invalid(f'Invalid decimal: {value}', path)
        return Decimal(value)


class Boolean(Param):
    def parse(self, value: Any, path: str) -> bool:
        if value not in ('true', 'false'):
            raise invalid(f'Invalid boolean: {value}', path)
        return value == 'true'


class Enum(Param):
    def __init__(self, *choices: str, **rules: bool):
        super().__init__(**rules)
        self.choices = choices

    def parse(self, value: Any, path: str) -> str:
        if value not in self.choices:
            *head, last = self.choices
            choices = f'{", ".join(head)} or {last}' if head else last
            raise invalid(f'Invalid {path}: must be one of {choices}', path)
        return value


class Currency(Param):
    def parse(self, value: Any, path: str) -> str:
        if value not in CURRENCIES:
            raise invalid(f'Invalid currency: {value}. Stripe supports lower-case ISO codes only.',
                          path)
        return value


class Hash(Param):
    """Named parameters; anything else is unknown (section 1)."""

    def __init__(self, fields: Dict[str, Param], **rules: bool):
        super().__init__(**rules)
        self.fields = fields

    def parse(self, value: Any, path: str) -> dict:
        if not isinstance(value, dict):
            raise invalid(f'Invalid hash: {value}', path)
        strangers = [join(path, name) for name in value if name not in self.fields]
        if strangers:
            raise unknown(strangers)
        for name, field in self.fields.items():
            if field.required and name not in value:
                raise missing(join(path, name))
        return {name: self.fields[name].read(part, join(path, name))
                for name, part in value.items()}


class CurrencyMap(Param):
    """Lower-case currency -> parameters (section 1.1)."""

    def __init__(self, fields: Dict[str, Param], **rules: bool):
        super().__init__(**rules)
        self.entry = Hash(fields)

    def parse(self, value: Any, path: str) -> dict:
        if not isinstance(value, dict):
            raise invalid(f'Invalid hash: {value}', path)
        return {Currency().parse(currency, join(path, currency)):
                self.entry.read(entry, join(path, currency)) for currency, entry in value.items()}


class ListOf(Param):
    def __init__(self, item: Param, max_items: Optional[int] = None, **rules: bool):
        super().__init__(**rules)
        self.item, self.max_items = item, max_items

    def parse(self, value: Any, path: str) -> list:
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise invalid('Invalid array', path)
        if self.max_items and len(value) > self.max_items:
            raise invalid(f'Array {path} exceeded maximum {self.max_items} allowed elements.', path)
        return [self.item.read(value[key], join(path, key)) for key in sorted(value, key=int)]


class Metadata(Param):
    """Section 1.2. Read as None (remove all) or key -> text, None to remove the key."""

    def __init__(self) -> None:
        super().__init__(clearable=True)

    def parse(self, value: Any, path: str) -> dict:
        if not isinstance(value, dict):
            raise invalid('Invalid hash: metadata', path)
        for key, text in value.items():
            if len(key) > 40:
                raise invalid(f'Metadata keys must be at most 40 characters: {key}', path)
            if not isinstance(text, str):
                raise invalid(f'Metadata values must be strings: {key}', join(path, key))
            if len(text) > 500:
                raise invalid('Metadata values can have up to 500 characters, but you passed in a '
                              f'value that is {len(text)} characters.', join(path, key))
        return {key: text or None for key, text in value.items()}


def merged_metadata(old: dict, given: Optional[dict]) -> dict:
    """An update merges; at most 50 keys may result (section 1.2)."""
    if given is None:
        return {}
    new = {key: text for key, text in {**old, **given}.items() if text is not None}
    if len(new) > 50:
        raise invalid(f'Metadata can have up to 50 keys, but {len(new)} would result.', 'metadata')
    return new


class Range(Param):
    """`created=<exact>` or `created[gte]=...`: read as a test of a time (section 5)."""

    _TESTS: Dict[str, Callable[[int, int], bool]] = {
        'gt': int.__gt__, 'gte': int.__ge__, 'lt': int.__lt__, 'lte': int.__le__}
    _BOUNDS = Hash({name: Integer() for name in _TESTS})

    def parse(self, value: Any, path: str) -> Callable[[int], bool]:
        if isinstance(value, str):
            exact = Integer().parse(value, path)
            return lambda time: time == exact
        bounds = self._BOUNDS.parse(value, path)
        return lambda time: all(self._TESTS[name](time, bound) for name, bound in bounds.items())
