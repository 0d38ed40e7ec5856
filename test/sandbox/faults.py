"""Rules for misbehaviour: which requests they hit, and the stalls (see misbehaviour.py)."""
from __future__ import annotations

import fnmatch
import re
import threading
from typing import Any, List, Optional

from request_log import Request

NAMES = frozenset((
    'status', 'delay', 'stall_before_headers', 'stall_in_body', 'reset_before', 'reset_after',
    'truncate', 'invalid_json', 'big_body', 'gzip_bomb', 'other_object', 'redirect',
    '409_in_flight', 'idempotency_replay_mark'))
_OPTIONS = frozenset((
    'status', 'body', 'headers', 'stored', 'execute', 'seconds', 'bytes', 'id', 'location'))
_MATCHES = frozenset(('method', 'path', 'contains'))


class WorldReset(Exception):
    """The sandbox was reset while a request was stalled: it must not touch the new world."""


class _Gate:
    """What stalled requests wait at."""

    def __init__(self) -> None:
        self.opened, self.reset = threading.Event(), False


class Fault:
    """One rule as posted to /_sandbox/faults."""

    def __init__(self, id: int, spec: dict) -> None:
        self.match = spec.get('match', {})
        unknown = set(spec) - {'match', 'times', 'fault'} - _OPTIONS | set(self.match) - _MATCHES
        if unknown:
            raise ValueError(f'unknown members: {sorted(unknown)}')
        if spec.get('fault') not in NAMES:
            raise ValueError(f'fault: one of {sorted(NAMES)}')
        self.id, self.name, self.spec = id, spec['fault'], spec
        self.times = spec.get('times', 1)  # 0: for ever
        self.hits = 0
        path = self.match.get('path', '*')
        self._path = re.compile(path if path.startswith('^') else fnmatch.translate(path))

    @property
    def seconds(self) -> Optional[float]:
        """Of a stall or delay; None (also any word): until released."""
        seconds = self.spec.get('seconds')
        return seconds if isinstance(seconds, (int, float)) else None

    def get(self, option: str, default: Any = None) -> Any:
        return self.spec.get(option, default)

    def hit(self, request: Request) -> bool:
        if self.times and self.hits >= self.times:
            return False
        contains = self.match.get('contains')
        return (self.match.get('method') in (None, request.method)
                and self._path.match(request.path) is not None
                and (contains is None
                     or any(contains in value for value in request.params.values())))

    def entry(self) -> dict:
        return {'id': self.id, 'hits': self.hits, **self.spec}


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: List[Fault] = []
        self._last_id = 0
        self._gate = _Gate()
        self.stalled = 0

    def add(self, spec: dict) -> int:
        with self._lock:
            fault = Fault(self._last_id + 1, spec)
            self._last_id = fault.id
            self._faults.append(fault)
            return fault.id

    def take(self, request: Request) -> Optional[Fault]:
        """The first rule that hits the request; used up rules stay listed."""
        with self._lock:
            for fault in self._faults:
                if fault.hit(request):
                    fault.hits += 1
                    return fault
        return None

    def entries(self) -> List[dict]:
        with self._lock:
            return [fault.entry() for fault in self._faults]

    def clear(self, reset: bool = False) -> None:
        with self._lock:
            self._faults.clear()
        self.release(reset)

    def stall(self, seconds: Optional[float]) -> None:
        """Hold this request for so long, or until released."""
        with self._lock:
            gate = self._gate
            self.stalled += 1
        gate.opened.wait(seconds)
        with self._lock:
            self.stalled -= 1
        if gate.reset:
            raise WorldReset

    def release(self, reset: bool = False) -> None:
        with self._lock:
            gate, self._gate = self._gate, _Gate()
        gate.reset = reset
        gate.opened.set()
