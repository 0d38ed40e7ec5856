"""The idempotency layer (stripe.md section 4)."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from errors import StripeError, invalid

RETENTION = 24 * 3600
_MAX_LENGTH = 255

Scope = Tuple[str, bool, str]  # account, mode, key


@dataclass
class Answer:
    status: int
    body: bytes
    replayed: bool = False


@dataclass
class _Slot:
    request: Any
    begun: float
    answer: Optional[Answer] = None  # None while in flight


class IdempotencyStore:
    def __init__(self) -> None:
        self._slots: Dict[Scope, _Slot] = {}

    def begin(self, scope: Scope, request: Any, now: float) -> Optional[Answer]:
        """The stored answer, or None: then the caller executes, and must call finish()."""
        self._prune(now)
        key = scope[2]
        if len(key) > _MAX_LENGTH:
            raise invalid(f'Idempotency keys can be up to {_MAX_LENGTH} characters.')
        slot = self._slots.get(scope)
        if slot is None:
            self._slots[scope] = _Slot(request, now)
            return None
        if slot.request != request:
            raise StripeError(
                400, 'Keys for idempotent requests can only be used with the same parameters they '
                f"were first used with. Try using a key other than '{key}' if you meant to execute "
                'a different request.', type='idempotency_error')
        if slot.answer is None:
            raise StripeError(
                409, 'There is currently another in-progress request using this Idempotent Key '
                '(that probably means you submitted twice, and the other request is still going '
                f'through): {key}. Please try again.', code='idempotency_key_in_use')
        return Answer(slot.answer.status, slot.answer.body, replayed=True)

    def finish(self, scope: Scope, answer: Optional[Answer]) -> None:
        """Keep the answer; or forget the key, if there is nothing to keep."""
        if answer is None:
            self._slots.pop(scope, None)
        elif scope in self._slots:
            self._slots[scope].answer = answer

    def _prune(self, now: float) -> None:
        # Slots are in order of their beginning.
        while self._slots:
            scope, slot = next(iter(self._slots.items()))
            if slot.answer is None or slot.begun + RETENTION > now:
                return
            del self._slots[scope]
