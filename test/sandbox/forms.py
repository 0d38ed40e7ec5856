"""Decoding of form-encoded parameters (stripe.md section 1.1)."""
from __future__ import annotations

import re
from collections import Counter
from typing import Dict, List
from urllib.parse import parse_qsl

from errors import invalid

_NAME = re.compile(r'([^\[\]]+)((?:\[[^\[\]]*\])*)')
_BRACKET = re.compile(r'\[([^\[\]]*)\]')


def flatten(encoded: str) -> Dict[str, str]:
    """Bracket path -> value; `types[]` is numbered, so that it equals `types[0]`, `types[1]`."""
    flat: Dict[str, str] = {}
    used: Counter = Counter()
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        while '[]' in name:
            head, tail = name.split('[]', 1)
            name = f'{head}[{used[head]}]{tail}'
            used[head] += 1
        flat[name] = value
    return flat


def nest(flat: Dict[str, str]) -> dict:
    """The same parameters as nested dicts; lists stay dicts keyed '0', '1', ..."""
    root: dict = {}
    for path, value in flat.items():
        *parents, last = _segments(path)
        node = root
        for segment in parents:
            node = node.setdefault(segment, {})
            if not isinstance(node, dict):
                raise invalid(f'Invalid parameters: {path} conflicts with another one', path)
        if isinstance(node.get(last), dict):
            raise invalid(f'Invalid parameters: {path} conflicts with another one', path)
        node[last] = value
    return root


def join(parent: str, name: str) -> str:
    return f'{parent}[{name}]' if parent else name


def _segments(path: str) -> List[str]:
    match = _NAME.fullmatch(path)
    return [match[1], *_BRACKET.findall(match[2])] if match else [path]
