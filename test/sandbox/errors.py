"""Stripe's error answers (stripe.md section 2)."""
from __future__ import annotations

from typing import Optional


class StripeError(Exception):
    """An error answer. `stored`: whether the idempotency layer keeps it (section 4)."""

    def __init__(self, status: int, message: str, *, code: Optional[str] = None,
                 param: Optional[str] = None, type: str = 'invalid_request_error',
                 stored: bool = False):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.type, self.stored = type, stored

    def body(self, request_id: str, livemode: bool) -> dict:
        error = {'message': self.message, 'type': self.type}
        if self.code:
            error['code'] = self.code
            error['doc_url'] = 'https://stripe.com/docs/error-codes/' + self.code.replace('_', '-')
        if self.param:
            error['param'] = self.param
        mode = '' if livemode else 'test/'
        error['request_log_url'] = f'https://dashboard.stripe.com/{mode}logs/{request_id}'
        return {'error': error}


def invalid(message: str, param: Optional[str] = None, code: Optional[str] = None) -> StripeError:
    """A parameter fails validation: many of these carry a param and no code."""
    return StripeError(400, message, param=param, code=code)


def missing(param: str) -> StripeError:
    return invalid(f'Missing required param: {param}.', param, 'parameter_missing')


def unknown(params: list) -> StripeError:
    plural = 's' if len(params) > 1 else ''
    return invalid(f'Received unknown parameter{plural}: {", ".join(params)}', params[0],
                   'parameter_unknown')


def exclusive(*params: str) -> StripeError:
    return invalid(f'You may only specify one of these parameters: {", ".join(params)}.',
                   params[0], 'parameters_exclusive')


def refused(message: str, param: Optional[str] = None, code: Optional[str] = None) -> StripeError:
    """Valid parameters, but the state of the account forbids it: executed, hence stored."""
    return StripeError(400, message, param=param, code=code, stored=True)


def no_such(kind: str, id: str, param: str, status: int = 400) -> StripeError:
    """404 for an id in the URL, 400 for one in a body, filter or cursor."""
    name = kind.replace('_', ' ')
    return StripeError(status, f"No such {name}: '{id}'", param=param, code='resource_missing',
                       stored=True)


def unrecognized_url(method: str, path: str) -> StripeError:
    return StripeError(404, f'Unrecognized request URL ({method}: {path}).')
