"""Asks Stripe itself what no source could tell us.

    STRIPE_SECRET_KEY=sk_test_... script/verify-stripe

A line per fact: whether what the code assumes is confirmed, found otherwise, or could not be told
(of an event that did not show up: in which time); what was seen; what it means for us. Only test
keys are taken. What it makes is named stripe-sync-verify, and taken away again: coupons and
customers are deleted, subscriptions cancelled, sessions expired, codes, products and tax rates
switched off.
"""
from __future__ import annotations

import argparse
import http.client
import os
import signal
import sys
from typing import List

from facts import FACTS, Fact
from probe import Probe, Unseen, Untold


def tell(fact: Fact, probe: Probe) -> str:
    try:
        as_assumed, seen = fact.check(probe)
    except Unseen as nothing:
        return _line(f'not seen in {probe.wait:g} s', fact, 'it may come later, or never',
                     'if never, ' + (fact.confirmed if nothing.as_assumed else fact.otherwise))
    except Untold as why:
        return _line('could not be told', fact, str(why), 'if otherwise, ' + fact.otherwise)
    if as_assumed:
        return _line('confirmed', fact, seen, fact.confirmed)
    return _line('otherwise', fact, seen, fact.otherwise)


def _line(verdict: str, fact: Fact, seen: str, meaning: str) -> str:
    return f'{verdict:18} {fact.assumed} ({seen}): {meaning}'


def verify(probe: Probe, key: str) -> None:
    account = probe.ask('GET', '/v1/account')
    if account.status == 401:
        sys.exit(f'Stripe does not take the key: {account}'.replace(key, '(key)'))
    for fact in FACTS:
        print(tell(fact, probe).replace('\n', ' ').replace(key, '(key)'), flush=True)


def main(arguments: List[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--base', default='https://api.stripe.com', metavar='URL',
                        help='who is asked (%(default)s)')
    parser.add_argument('--wait', type=float, default=20, metavar='SECONDS',
                        help='for events to appear (%(default)s)')
    options = parser.parse_args(arguments)
    key = os.environ.get('STRIPE_SECRET_KEY', '')
    if not key.startswith(('sk_test_', 'rk_test_')):
        sys.exit('STRIPE_SECRET_KEY must hold a test key, sk_test_... or rk_test_...')
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit('stopped'))
    probe = Probe(options.base, key, options.wait)
    try:
        verify(probe, key)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f'{options.base} can not be reached: {error}')
    finally:
        probe.connection.close()
        clean = probe.clean()
    sys.exit(0 if clean else 1)


main(sys.argv[1:])
