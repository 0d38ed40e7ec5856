"""List answers: filters and cursors (stripe.md section 5)."""
from __future__ import annotations

from itertools import islice
from typing import Callable, Dict

from errors import exclusive, no_such
from resource import Call, Resource
from validate import Integer, Param, Text

DEFAULT_LIMIT, MAX_LIMIT = 10, 100
CURSORS: Dict[str, Param] = {'limit': Integer(), 'starting_after': Text(), 'ending_before': Text()}


def page(call: Call, resource: Resource, p: dict) -> dict:
    """One page, newest first. Out-of-range limits are clamped, not refused."""
    limit = min(max(p.get('limit', DEFAULT_LIMIT), 1), MAX_LIMIT)
    keep = _filter(call, resource, p)
    objects = call.store[resource.kind]
    if 'starting_after' in p and 'ending_before' in p:
        raise exclusive('starting_after', 'ending_before')
    for cursor in ('starting_after', 'ending_before'):
        if cursor not in p or p[cursor] in objects:
            continue
        if p[cursor] not in objects.deleted or call.config['deleted_cursor'] == 'refuse':
            raise no_such(resource.kind, p[cursor], cursor)
    if 'ending_before' in p:
        walk = objects.oldest_first(after=p['ending_before'])
    else:
        walk = objects.newest_first(after=p.get('starting_after'))
    found = list(islice(filter(keep, walk), limit + 1))
    data = found[:limit]
    if 'ending_before' in p:
        data.reverse()
    return {'object': 'list', 'data': data, 'has_more': len(found) > limit,
            'url': f'/v1/{resource.path}'}


def _filter(call: Call, resource: Resource, p: dict) -> Callable[[dict], bool]:
    keep = resource.keep(call, p)
    if 'created' not in p:
        return keep
    created = p['created']
    return lambda obj: created(obj['created']) and keep(obj)
