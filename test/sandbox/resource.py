"""What the resources have in common."""
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Dict, Optional

from config import Config
from errors import invalid, no_such
from store import Store
from validate import Param


@dataclass
class Call:
    """One execution: where, when and on whose request."""
    store: Store
    config: Config
    now: float
    version: str
    request_id: Optional[str] = None
    idempotency_key: Optional[str] = None


class Resource:
    """A kind of object under /v1/<path>. A method that a resource lacks, Stripe lacks too."""

    kind = path = ''
    url_param = 'id'
    filters: Dict[str, Param] = {}

    # Optional, given by the resources that have them:
    #   create_params(version), update_params: the parameters as name -> Param
    #   create(call, p) -> object to be added
    #   update(call, obj, p): changes the copy it is given
    #   delete(call, obj): checks, and what follows from it

    def keep(self, call: Call, p: dict) -> Callable[[dict], bool]:
        """A test for the list filters other than `created`."""
        return lambda obj: True


def matching(p: dict, *names: str) -> Callable[[dict], bool]:
    """Objects whose fields equal the filters given."""
    wanted = [(name, p[name]) for name in names if name in p]
    return lambda obj: all(obj[name] == value for name, value in wanted)


def must_exist(call: Call, kind: str, id: str, param: str) -> dict:
    obj = call.store[kind].get(id)
    if obj is None:
        raise no_such(kind, id, param)
    return obj


def check_deadline(time: int, now: float, param: str) -> None:
    """`redeem_by` and `expires_at`: in the future, at most five years ahead (sections 6, 7)."""
    if time <= now:
        raise invalid(f'{param} must be in the future.', param)
    if time > _years_after(now, 5):
        raise invalid(f'{param} must be at most five years in the future.', param)


def _years_after(now: float, years: int) -> float:
    day = datetime.fromtimestamp(now, timezone.utc)
    try:
        return day.replace(year=day.year + years).timestamp()
    except ValueError:  # 29 February
        return day.replace(year=day.year + years, day=28).timestamp()
