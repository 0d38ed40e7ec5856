"""The whole state of one sandbox; in memory only."""
from __future__ import annotations

import threading
from typing import Dict, Optional, Tuple

from config import Config
from faults import Faults
from idempotency import IdempotencyStore
from keys import Keys
from request_log import RequestLog
from resource import Call
from store import Clock, Store


class World:
    def __init__(self, api_version: str) -> None:
        self._api_version = api_version
        self.lock = threading.RLock()  # one execution at a time
        self.faults = Faults()
        self.log = RequestLog()
        self.reset()

    def reset(self) -> None:
        with self.lock:
            self.config = Config(self._api_version)
            self.clock = Clock()
            self.keys = Keys()
            self.idempotency = IdempotencyStore()
            self._stores: Dict[Tuple[str, bool], Store] = {}
            self.log.clear()
            self.faults.clear(reset=True)

    def store(self, account: str, livemode: bool) -> Store:
        return self._stores.setdefault((account, livemode), Store(account, livemode))

    def call(self, store: Store, version: str = '', **request: Optional[str]) -> Call:
        return Call(store, self.config, self.clock.now(), version or self.config['api_version'],
                    **request)
