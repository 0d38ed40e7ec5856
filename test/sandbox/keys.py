"""API keys: who calls, in which account and mode, and what the key may do (sections 1 and 2)."""
from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Dict, List, Optional

from errors import StripeError

DEFAULT_ACCOUNT = 'acct_sandbox00000001'
_SECRET = re.compile(r'[sr]k_(test|live)_[A-Za-z0-9_]+')
_MIN_LENGTH = 12


@dataclass
class Key:
    text: str
    account: str = DEFAULT_ACCOUNT
    revoked: bool = False
    forbid: List[str] = field(default_factory=list)
    named: bool = True  # whether a refusal names the account (unconfirmed)

    @property
    def livemode(self) -> bool:
        return self.text[3:7] == 'live'

    @property
    def masked(self) -> str:
        return f'{self.text[:8]}{"*" * 8}{self.text[-4:]}'


class Keys:
    """Any well-formed key is valid; the tests revoke and restrict some."""

    def __init__(self) -> None:
        self._known: Dict[str, Key] = {}

    def set(self, text: str, values: dict) -> Key:
        key = self._known.setdefault(text, Key(text))
        for name, value in values.items():
            setattr(key, name, value)
        return key

    def authenticate(self, authorization: Optional[str]) -> Key:
        text = _credentials(authorization)
        if not text:
            raise _refuse('You did not provide an API key. You need to provide your API key in the '
                          "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
                          "YOUR_SECRET_KEY').")
        if text.startswith('pk_'):
            raise _refuse('This API call cannot be made with a publishable API key. Please use a '
                          'secret API key.', 'secret_key_required')
        key = self._known.get(text) or Key(text)
        if not _SECRET.fullmatch(text) or len(text) < _MIN_LENGTH:
            raise _refuse(f'Invalid API Key provided: {key.masked}')
        if key.revoked:
            raise _refuse(f'Expired API Key provided: {key.masked}', 'api_key_expired')
        return key


def authorise(key: Key, method: str, path: str) -> None:
    """403 for a restricted key; `POST /v1/coupons` covers the objects below that path too."""
    for rule in key.forbid:
        verb, _, root = rule.partition(' ')
        if verb == method and (path == root or path.startswith(root + '/')):
            resource = root.split('/')[2].rstrip('s')
            right = 'read' if method == 'GET' else 'write'
            where = f" on account '{key.account}'" if key.named else ''
            raise StripeError(
                403, f"The provided key '{key.masked}' does not have the required permissions for "
                f"this endpoint{where}. Having the 'rak_{resource}_{right}' permission would allow "
                'this request to continue.')


def _credentials(authorization: Optional[str]) -> str:
    """The key of a bearer header, or the user name of a basic one."""
    scheme, _, value = (authorization or '').partition(' ')
    value = value.strip()
    if scheme.lower() == 'basic':
        try:
            return base64.b64decode(value, validate=True).decode().partition(':')[0]
        except (binascii.Error, UnicodeDecodeError):
            return ''
    return value if scheme.lower() == 'bearer' else ''


def _refuse(message: str, code: Optional[str] = None) -> StripeError:
    return StripeError(401, message, code=code)
