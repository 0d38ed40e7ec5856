"""A test account of Stripe's, used and left as it was: what is made is named so, and undone."""
from __future__ import annotations

import http.client
import json
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple
from urllib.parse import quote, urlencode, urlsplit

NAME = 'stripe-sync-verify'
CLIENT = Path(__file__).resolve().parents[2] / 'src/stripe/client.hpp'

Params = Dict[str, Any]
Undo = Tuple[str, str, Params]  # method, what follows the path of the object made, parameters


class Untold(Exception):
    """Why a fact could not be told."""


class Unseen(Exception):
    """What a fact is about did not show up in time: as assumed (or not), if it never does."""

    def __init__(self, as_assumed: bool) -> None:
        super().__init__()
        self.as_assumed = as_assumed


@dataclass
class Answer:
    status: int
    body: Dict[str, Any]
    headers: http.client.HTTPMessage

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def made(self) -> str:
        """The id of what had to be made."""
        if not self.ok:
            raise Untold(f'what it needs could not be made: {self}')
        return self.body['id']

    @property
    def param(self) -> str:
        return self.body.get('error', {}).get('param') or ''

    def __str__(self) -> str:
        if self.ok:
            return 'accepted'
        error = self.body.get('error', {})
        return f'{self.status} ' + ', '.join(
            f'{name} {error[name]}' for name in ('code', 'param', 'message') if error.get(name))


class Probe:
    def __init__(self, base: str, key: str, wait: float) -> None:
        self.url, self._key, self.wait = urlsplit(base), key, wait
        scheme = self.url.scheme.upper()
        self.connection = getattr(http.client, f'{scheme}Connection')(self.url.netloc, timeout=80)
        self.version = re.search(r'api_version = "([^"]+)"', CLIENT.read_text())[1]
        self._run, self._made = f'{NAME}-{secrets.token_hex(4)}', 0
        self._undo: List[Undo] = []

    def ask(self, method: str, path: str, params: Params = {}, **more_headers: str) -> Answer:
        headers = {'Authorization': f'Bearer {self._key}', 'Stripe-Version': self.version,
                   'User-Agent': 'stripe_sync-verify/1',
                   **{name.replace('_', '-'): value for name, value in more_headers.items()}}
        encoded, body = urlencode(params), None
        if method == 'POST':
            body = encoded
            headers['Content-Type'] = 'application/x-www-form-urlencoded'
            headers['Idempotency-Key'] = secrets.token_hex(16)
        elif encoded:
            path += '?' + encoded
        try:
            return self._exchange(method, path, body, headers)
        except ConnectionError:  # it was idle for too long, perhaps
            self.connection.close()
            return self._exchange(method, path, body, headers)

    def _exchange(self, *request: Any) -> Answer:
        self.connection.request(*request)
        response = self.connection.getresponse()
        data = response.read()
        try:
            decoded = json.loads(data)
        except ValueError:
            decoded = {}  # compressed, as asked, or not Stripe's
        return Answer(response.status, decoded, response.headers)

    def must(self, method: str, path: str, params: Params = {}) -> Dict[str, Any]:
        answer = self.ask(method, path, params)
        if not answer.ok:
            raise Untold(f'{method} {path}: {answer}')
        return answer.body

    def make(self, path: str, params: Params, undo: Undo) -> Answer:
        answer = self.ask('POST', path, params)
        if answer.ok:
            method, suffix, parameters = undo
            made = quote(answer.body['id'], safe='')
            self._undo.append((method, f'{path}/{made}{suffix}', parameters))
        return answer

    def clean(self) -> bool:
        """Undoes it all, the latest first; says what could not be."""
        clean = True
        for method, path, params in reversed(self._undo):
            try:
                answer = self.ask(method, path, params)
                gone, why = answer.ok or answer.status == 404, str(answer)
            except (OSError, http.client.HTTPException) as error:
                gone, why = False, str(error)
            if not gone:
                print(f'left behind: {path} ({why})')
                clean = False
        return clean

    # --- what is made ---

    def new_id(self) -> str:
        self._made += 1
        return f'{self._run}-{self._made}'

    def coupon(self, **params: Any) -> Answer:
        terms = {'currency': 'usd'} if 'amount_off' in params else {'percent_off': 10}
        return self.make('/v1/coupons', {'id': self.new_id(), 'name': NAME, **terms, **params},
                         ('DELETE', '', {}))

    def code(self, coupon: str, params: Params = {}) -> Answer:
        return self.make('/v1/promotion_codes', {
            'promotion[type]': 'coupon', 'promotion[coupon]': coupon, **params},
            ('POST', '', {'active': 'false'}))

    def customer(self) -> str:
        return self.make('/v1/customers', {'name': NAME}, ('DELETE', '', {})).made

    def product(self) -> str:
        return self.make('/v1/products', {'name': NAME}, ('POST', '', {'active': 'false'})).made

    def session(self, amounts: List[int], params: Params) -> Answer:
        return self.make('/v1/checkout/sessions', {
            'mode': 'payment', 'success_url': 'https://example.com/',
            **items('line_items', self.product(), amounts), **params}, ('POST', '/expire', {}))

    def preview(self, amounts: List[int], params: Params = {}, product: str = '',
                quantity: int = 1) -> Answer:
        """The first invoice of a subscription with an item for each amount; makes none."""
        lines = items('subscription_details[items]', product or self.product(), amounts, quantity,
                      monthly=True)
        return self.ask('POST', '/v1/invoices/create_preview',
                        {'customer': self.customer(), **lines, **params})

    def subscription(self, amounts: List[int], params: Params = {}) -> Dict[str, Any]:
        """A new customer's, paid by invoice: it needs no card."""
        answer = self.make('/v1/subscriptions', {
            'customer': self.customer(), 'collection_method': 'send_invoice', 'days_until_due': 30,
            **items('items', self.product(), amounts, monthly=True), **params}, ('DELETE', '', {}))
        if not answer.ok:
            raise Untold(f'no subscription: {answer}')
        return answer.body

    def redeem(self, code: str) -> None:
        self.subscription([10000], {'discounts[0][promotion_code]': code})

    # --- what is seen ---

    def event(self, type: str, about: Callable[[dict], bool]) -> bool:
        """Whether there is such an event; it may take its time."""
        deadline = time.monotonic() + self.wait
        while True:
            events = self.must('GET', '/v1/events', {'type': type, 'limit': 100})['data']
            if any(about(event['data']['object']) for event in events):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(1)


def items(path: str, product: str, amounts: List[int], quantity: int = 1,
          monthly: bool = False) -> Params:
    params: Params = {}
    for i, amount in enumerate(amounts):
        values = {'[price_data][currency]': 'usd', '[price_data][product]': product,
                  '[price_data][unit_amount]': amount, '[quantity]': quantity}
        if monthly:
            values['[price_data][recurring][interval]'] = 'month'
        params.update({f'{path}[{i}]{name}': value for name, value in values.items()})
    return params
