"""The log of API requests that tests read."""
from __future__ import annotations

import fnmatch
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, List, Optional

_KEPT = 200_000


@dataclass
class Request:
    """One API request. Its key is not kept: the log shows no secrets."""
    id: str
    method: str
    path: str
    encoded: str  # the parameters as they came
    params: Dict[str, str]
    authorization: Optional[str] = field(default=None, repr=False)
    idempotency_key: Optional[str] = None
    stripe_version: Optional[str] = None
    user_agent: Optional[str] = None
    seq: int = 0
    time: float = field(default_factory=time.time)
    status: Optional[int] = None  # None: no answer, or none yet
    replayed: bool = False
    fault: Optional[str] = None

    def entry(self) -> dict:
        return {name: getattr(self, name) for name in (
            'seq', 'time', 'method', 'path', 'params', 'idempotency_key', 'stripe_version',
            'user_agent', 'status', 'replayed', 'fault')} | {'request_id': self.id}


class RequestLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0
        self._requests: Deque[Request] = deque(maxlen=_KEPT)

    def add(self, request: Request) -> None:
        with self._lock:
            self._seq += 1
            request.seq = self._seq
            self._requests.append(request)

    def clear(self) -> None:
        """The numbering goes on, so that `since` keeps its meaning."""
        with self._lock:
            self._requests.clear()

    def select(self, since: int, method: Optional[str], path: Optional[str]) -> List[dict]:
        with self._lock:
            requests = list(self._requests)
        return [request.entry() for request in requests
                if request.seq > since and method in (None, request.method)
                and (path is None or fnmatch.fnmatchcase(request.path, path))]
