"""Snapshot events (stripe.md sections 11.2 and 11.4)."""
from __future__ import annotations

from dataclasses import replace
from typing import Callable, Optional

import shapes
from errors import exclusive, invalid
from resource import Call, Resource
from store import Store, random_text
from validate import Boolean, ListOf, Range, Text

RETENTION = 30 * 24 * 3600


def emit(call: Call, type: str, obj: dict, before: Optional[dict] = None) -> None:
    """Record a change. `data.object` is rendered now, nothing expanded, and stays so for ever."""
    call = replace(call, version=call.config['api_version'])
    data = {'object': shapes.present(call, obj)}
    if before is not None:
        data['previous_attributes'] = _previous(shapes.present(call, before), data['object'])
    call.store['event'].add({
        'id': 'evt_' + random_text(24), 'object': 'event', 'api_version': call.version,
        'created': int(call.now), 'data': data, 'livemode': call.store.livemode,
        'pending_webhooks': 0, 'type': type,
        'request': {'id': call.request_id, 'idempotency_key': call.idempotency_key}})


def _previous(before: dict, after: dict) -> dict:
    """Old values of changed attributes; inside hashes only the changed keys, arrays whole."""
    changed = {}
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old != new:
            both = isinstance(old, dict) and isinstance(new, dict)
            changed[name] = _previous(old, new) if both else old
    return changed


def forget_old(store: Store, now: float) -> None:
    store['event'].forget_before(int(now) - RETENTION)


class Events(Resource):
    kind, path = 'event', 'events'
    filters = {'type': Text(), 'types': ListOf(Text(), max_items=20), 'created': Range(),
               'delivery_success': Boolean()}

    def keep(self, call: Call, p: dict) -> Callable[[dict], bool]:
        if 'type' in p and 'types' in p:
            raise exclusive('type', 'types')
        wanted = p.get('types', [p['type']] if 'type' in p else [])
        if any('*' in name[:-1] for name in wanted):
            raise invalid('Invalid event type: a wildcard stands at the end', 'type')
        exact = {name for name in wanted if not name.endswith('*')}
        prefixes = tuple(name[:-1] for name in wanted if name.endswith('*'))
        # No endpoint is registered here, so no delivery is pending or failed.
        delivered = p.get('delivery_success', True)
        return lambda event: delivered and (
            not wanted or event['type'] in exact or event['type'].startswith(prefixes))
