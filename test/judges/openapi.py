"""Stripe's OpenAPI spec: which operation a request is, and what is wrong with names and answers."""
from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Optional

# What the types of Stripe's SDK have, and its public spec has not.
_ONLY_IN_SDK = {
    'product': {'type': {'type': 'string', 'enum': ['good', 'service']}},
    'recurring': {'trial_period_days': {'type': 'integer', 'nullable': True}},
}
_TYPES = {'string': str, 'boolean': bool, 'integer': int, 'number': (int, float), 'object': dict,
          'array': list}


class Operation:
    def __init__(self, method: str, template: str, spec: Dict[str, Any]) -> None:
        self.name = f'{method} {template}'
        self._responses = spec['responses']
        content = spec.get('requestBody', {}).get('content', {})
        body = content.get('application/x-www-form-urlencoded', {}).get('schema', {})
        query = {p['name']: p['schema'] for p in spec.get('parameters', []) if p['in'] == 'query'}
        self.parameters = {'properties': {**query, **body.get('properties', {})}}

    def answer(self, status: int) -> Dict[str, Any]:
        chosen = self._responses.get(str(status), self._responses['default'])
        return chosen['content']['application/json']['schema']


class Spec:
    def __init__(self, path: str) -> None:
        with open(path, encoding='utf-8') as file:
            spec = json.load(file)
        self.version = spec['info']['version']
        self._schemas = spec['components']['schemas']
        for name, fields in _ONLY_IN_SDK.items():
            self._schemas[name]['properties'].update(fields)
        # A literal segment goes before a placeholder: /v1/prices/search before /v1/prices/{price}.
        self._paths = [(re.compile(re.sub(r'\{[^}]*\}', '[^/]+', path)), path, operations)
                       for path, operations in sorted(spec['paths'].items(),
                                                      key=lambda item: item[0].count('{'))]

    def operation(self, method: str, path: str) -> Optional[Operation]:
        for pattern, template, operations in self._paths:
            if pattern.fullmatch(path) and method.lower() in operations:
                return Operation(method, template, operations[method.lower()])
        return None

    def object(self, name: str) -> Optional[Dict[str, Any]]:
        return self._schemas.get(name)

    def knows(self, schema: Dict[str, Any], segments: List[str]) -> bool:
        """Whether a bracket path names something: currency_options[eur][amount_off]."""
        schema = self.resolved(schema)
        if not segments:
            return True
        first, rest = segments[0], segments[1:]
        if any(self.knows(choice, segments) for choice in schema.get('anyOf', [])):
            return True
        if first in schema.get('properties', {}):
            return self.knows(schema['properties'][first], rest)
        if isinstance(schema.get('additionalProperties'), dict):
            return self.knows(schema['additionalProperties'], rest)
        return 'items' in schema and first.isdecimal() and self.knows(schema['items'], rest)

    def faults(self, schema: Dict[str, Any], value: Any, where: str = '') -> Iterator[str]:
        """What of a value is not as the schema says. Fields the schema does not know are faults."""
        schema = self.resolved(schema)
        if value is None and schema.get('nullable'):
            return
        if 'anyOf' in schema:
            yield from self._no_choice(schema['anyOf'], value, where)
            return
        kind = schema.get('type')
        if kind and (not isinstance(value, _TYPES[kind])
                     or isinstance(value, bool) != (kind == 'boolean')):
            yield f'{where}: {json.dumps(value)[:60]} is no {kind}'
        elif isinstance(value, dict):
            yield from self._object_faults(schema, value, where)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                yield from self.faults(schema['items'], item, f'{where}[{i}]')
        else:
            yield from _scalar_faults(schema, value, where)

    def resolved(self, schema: Dict[str, Any]) -> Dict[str, Any]:
        while '$ref' in schema:
            schema = self._schemas[schema['$ref'].rsplit('/', 1)[1]]
        return schema

    def _no_choice(self, choices: List[dict], value: Any, where: str) -> Iterator[str]:
        """The faults under the choice that has the fewest."""
        yield from min((list(self.faults(choice, value, where)) for choice in choices), key=len)

    def _object_faults(self, schema: Dict[str, Any], value: dict, where: str) -> Iterator[str]:
        known, others = schema.get('properties', {}), schema.get('additionalProperties')
        for name in schema.get('required', []):
            if name not in value:
                yield f'{where}.{name} is missing'
        for name, item in value.items():
            if name in known:
                yield from self.faults(known[name], item, f'{where}.{name}')
            elif isinstance(others, dict):
                yield from self.faults(others, item, f'{where}[{name}]')
            elif known and not others:
                yield f'{where}.{name} is not in the spec'


def _scalar_faults(schema: Dict[str, Any], value: Any, where: str) -> Iterator[str]:
    if 'enum' in schema and value not in schema['enum']:
        yield f'{where}: {value!r} is none of {schema["enum"]}'
    if isinstance(value, str) and len(value) > schema.get('maxLength', len(value)):
        yield f'{where}: longer than {schema["maxLength"]}'
    if isinstance(value, str) and not re.search(schema.get('pattern', ''), value):
        yield f'{where}: {value!r} does not match {schema["pattern"]}'


def segments(name: str) -> List[str]:
    """a[b][] as a, b, 0."""
    return re.findall(r'[^\[\]]+', name.replace('[]', '[0]'))
