"""How a stored object looks in an answer: API version, hidden fields, expand.

Objects are stored in the newest shape with all their fields. Some fields are absent unless
expanded (stripe.md sections 6 and 10), and references are ids unless expanded (1.3).
"""
from __future__ import annotations

from typing import Any, Dict, List, Tuple

from config import CLOVER
from errors import invalid
from resource import Call
from validate import ListOf, Text

Path = Tuple[str, ...]

HIDDEN: Dict[str, List[Path]] = {
    'coupon': [('applies_to',), ('currency_options',)],
    'promotion_code': [('restrictions', 'currency_options')],
    'price': [('currency_options',), ('tiers',)],
}
_REFERENCES: Dict[str, Dict[Path, str]] = {
    'promotion_code': {('promotion', 'coupon'): 'coupon', ('customer',): 'customer'},
    'price': {('product',): 'product'},
    'product': {('default_price',): 'price'},
}
_MAX_DEPTH = 4
EXPAND = ListOf(Text())


def before_clover(version: str) -> bool:
    return version[:10] < CLOVER


def check_expand(paths: List[str], kind: str, version: str, in_list: bool) -> List[Path]:
    """The paths relative to the object; on lists Stripe wants `data.` before each."""
    checked = []
    for path in paths:
        segments = tuple(path.split('.'))
        if len(segments) > _MAX_DEPTH:
            raise invalid(f'You cannot expand more than {_MAX_DEPTH} levels of a property '
                          f'({path}).', 'expand')
        relative = segments
        if in_list:
            if segments[0] != 'data' or len(segments) == 1:
                raise invalid(f'This property cannot be expanded ({path}). You may want to try '
                              f"expanding 'data.{path}' instead.", 'expand')
            relative = segments[1:]
        if not _expandable(kind, relative, version):
            raise invalid(f'This property cannot be expanded ({path}).', 'expand')
        checked.append(relative)
    return checked


def present(call: Call, obj: dict, expand: List[Path] = []) -> dict:
    out = _visible(call, obj)
    for path in expand:
        _expand(call, out, obj, path)
    return out


def _visible(call: Call, obj: dict) -> dict:
    out = dict(obj)
    for path in HIDDEN.get(obj['object'], ()):
        _drop(out, path)
    if obj['object'] == 'promotion_code' and before_clover(call.version):
        coupon = call.store.last_seen('coupon', out.pop('promotion')['coupon'])
        out['coupon'] = _visible(call, coupon)
    return out


def _references(kind: str, version: str) -> Dict[Path, str]:
    references = _REFERENCES.get(kind, {})
    if kind == 'promotion_code' and before_clover(version):
        return {('customer',): 'customer'}
    return references


def _expandable(kind: str, path: Path, version: str) -> bool:
    if path in HIDDEN.get(kind, ()):
        return True
    if kind == 'promotion_code' and before_clover(version) and path[0] == 'coupon':
        return _expandable('coupon', path[1:], version)
    for reference, target in _references(kind, version).items():
        if path[:len(reference)] == reference:
            rest = path[len(reference):]
            return not rest or _expandable(target, rest, version)
    return False


def _expand(call: Call, out: dict, obj: dict, path: Path) -> None:
    kind = obj['object']
    if path in HIDDEN.get(kind, ()):
        _reveal(out, obj, path)
        return
    if kind == 'promotion_code' and before_clover(call.version) and path[0] == 'coupon':
        coupon = call.store.last_seen('coupon', obj['promotion']['coupon'])
        _expand(call, out['coupon'], coupon, path[1:])
        return
    for reference, target in _references(kind, call.version).items():
        if path[:len(reference)] == reference:
            _follow(call, out, obj, reference, target, path[len(reference):])
            return


def _follow(call: Call, out: dict, obj: dict, reference: Path, target: str, rest: Path) -> None:
    id = _get(obj, reference)
    if id is None:
        return
    # By the SDK's types a deleted coupon stays a coupon, where others become a marker (section 10).
    stays = target == 'coupon' and call.config['deleted_coupon_expanded'] == 'coupon'
    referred = call.store.last_seen(target, id) if stays else call.store[target].get(id)
    if referred is None:
        _put(out, reference, {'id': id, 'object': target, 'deleted': True})
        return
    if not isinstance(_get(out, reference), dict):
        _put(out, reference, _visible(call, referred))
    if rest:
        _expand(call, _get(out, reference), referred, rest)


def _reveal(out: dict, obj: dict, path: Path) -> None:
    value = _get(obj, path)
    if value is not None:
        _put(out, path, value)


def _get(obj: dict, path: Path) -> Any:
    for name in path:
        obj = obj.get(name)
        if obj is None:
            return None
    return obj


def _put(out: dict, path: Path, value: Any) -> None:
    """Set a field of an answer; the dicts on the way are copied, they may be the stored ones."""
    *parents, last = path
    for name in parents:
        out[name] = dict(out[name])
        out = out[name]
    out[last] = value


def _drop(out: dict, path: Path) -> None:
    *parents, last = path
    for name in parents:
        out[name] = dict(out[name])
        out = out[name]
    out.pop(last, None)
