"""Objects, ids and the clock."""
from __future__ import annotations

import random
import string
import time
from bisect import bisect_left, bisect_right, insort
from typing import Dict, Iterator, List, Optional, Set, Tuple

_ALPHANUMERIC = string.ascii_letters + string.digits


def random_text(length: int, alphabet: str = _ALPHANUMERIC) -> str:
    return ''.join(random.choices(alphabet, k=length))


class Clock:
    """Real time plus an offset that the tests move."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds

    def set(self, now: float) -> None:
        self._offset = now - time.time()


class Collection:
    """Objects of one kind by id, and in order of creation."""

    def __init__(self) -> None:
        self._objects: Dict[str, dict] = {}
        self._places: Dict[str, Tuple[int, int]] = {}
        self._order: List[Tuple[int, int, str]] = []
        self._counter = 0
        self.deleted: Dict[str, dict] = {}
        self._deleted_places: Dict[str, Tuple[int, int]] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, id: str) -> dict:
        return self._objects[id]

    def get(self, id: str) -> Optional[dict]:
        return self._objects.get(id)

    def add(self, obj: dict, same_second: str = 'newest_first') -> None:
        self._counter += 1
        place = (obj['created'], self._counter if same_second == 'newest_first' else 0)
        self._objects[obj['id']] = obj
        self._places[obj['id']] = place
        insort(self._order, (*place, obj['id']))

    def delete(self, id: str) -> dict:
        obj = self.deleted[id] = self._objects.pop(id)
        place = self._deleted_places[id] = self._places.pop(id)
        del self._order[bisect_left(self._order, (*place, id))]
        return obj

    def forget_before(self, created: int) -> None:
        end = bisect_left(self._order, (created, 0, ''))
        for _, _, id in self._order[:end]:
            del self._objects[id], self._places[id]
        del self._order[:end]

    def newest_first(self, after: Optional[str] = None) -> Iterator[dict]:
        """All objects, or those older than the one named."""
        end = len(self._order)
        if after is not None:
            end = bisect_left(self._order, (*self._place(after), after))
        return (self._objects[self._order[i][2]] for i in range(end - 1, -1, -1))

    def oldest_first(self, after: str) -> Iterator[dict]:
        """The objects newer than the one named."""
        start = bisect_right(self._order, (*self._place(after), after))
        return (self._objects[self._order[i][2]] for i in range(start, len(self._order)))

    def _place(self, id: str) -> Tuple[int, int]:
        return self._places[id] if id in self._places else self._deleted_places[id]


class Store:
    """Everything one account holds in one mode; the modes never see each other's objects."""

    def __init__(self, account: str, livemode: bool) -> None:
        self.account, self.livemode = account, livemode
        self.collections: Dict[str, Collection] = {
            kind: Collection() for kind in
            ('product', 'price', 'coupon', 'promotion_code', 'customer', 'event')}
        # Life of coupons and codes, see redemption.py.
        self.deadlines: List[Tuple[int, str, str]] = []
        self.codes_of_coupon: Dict[str, List[str]] = {}
        self.active_codes: Dict[str, Set[str]] = {}
        self.finished_codes: Set[str] = set()

    def __getitem__(self, kind: str) -> Collection:
        return self.collections[kind]

    def last_seen(self, kind: str, id: str) -> Optional[dict]:
        """The object, or as it was when it was deleted."""
        return self[kind].get(id) or self[kind].deleted.get(id)
