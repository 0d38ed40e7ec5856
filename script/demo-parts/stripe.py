"""What the demo asks of Stripe, or of the sandbox, by HTTP.

catalog   makes the products, prints the plan's monthly price and the set-up fee's product
show      prints the table's rows (JSON on standard input) beside what Stripe holds
"""
import base64
import json
import os
import sys
import textwrap
import urllib.error
import urllib.parse
import urllib.request

BASE = os.environ['STRIPE_API_BASE']
KEY = os.environ['STRIPE_SECRET_KEY']
VERSION = os.environ['STRIPE_VERSION']
PLAN, SETUP, MONTHLY = 'stripe_sync_demo_plan', 'stripe_sync_demo_setup', 'stripe_sync_demo_monthly'
WIDTH = 110


def call(method, path, params=()):
    encoded = urllib.parse.urlencode(params)
    url, body = f'{BASE}{path}', None
    if method == 'GET':
        url += '?' + encoded
    else:
        body = encoded.encode()
    request = urllib.request.Request(url, body, method=method, headers={
        'Authorization': 'Basic ' + base64.b64encode(f'{KEY}:'.encode()).decode(),
        'Stripe-Version': VERSION})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        sys.exit(f'{method} {path}: ' + json.load(error)['error'].get('message', str(error)))
    except urllib.error.URLError as error:
        sys.exit(f'{method} {path}: {error.reason}')


def product(id, name):
    if call('GET', f'/v1/products/{id}') is None:
        call('POST', '/v1/products', [('id', id), ('name', name)])


def catalog():
    product(PLAN, 'Plan')
    product(SETUP, 'Set-up fee')
    prices = call('GET', '/v1/prices', [('lookup_keys[0]', MONTHLY), ('active', 'true')])['data']
    price = prices[0] if prices else call('POST', '/v1/prices', [
        ('product', PLAN), ('currency', 'usd'), ('unit_amount', 19900),
        ('recurring[interval]', 'month'), ('lookup_key', MONTHLY)])
    print(price['id'], SETUP)


def codes():
    """Stripe's promotion codes by id, with their coupons."""
    params = [('limit', 100)] + [('expand[]', 'data.promotion.coupon' + more)
                                 for more in ('', '.applies_to')]
    return {code['id']: code for code in call('GET', '/v1/promotion_codes', params)['data']}


def terms(coupon):
    if coupon['percent_off'] is not None:
        off = f'{coupon["percent_off"]:g} % off'
    else:
        off = f'{coupon["amount_off"] / 100:.2f} {coupon["currency"]} off'
    if coupon['duration'] == 'repeating':
        return f'{off} for {coupon["duration_in_months"]} months'
    return f'{off} {coupon["duration"]}'


def cells(row, held):
    here = [row['code'], row['status'], row['coupon'] or '-', row['promotion_code'] or '-']
    if held is None:
        return here + ['nothing', '-', '-']
    limit = held['max_redemptions']
    return here + [terms(held['promotion']['coupon']), 'yes' if held['active'] else 'no',
                   'none' if limit is None else str(limit)]


def show():
    rows, held = json.load(sys.stdin), codes()
    head = ['code', 'status', 'coupon', 'promotion code', 'in Stripe', 'on', 'max']
    table = [cells(row, held.get(row['promotion_code'])) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *table)]

    def line(texts):
        print('  '.join(text.ljust(width) for text, width in zip(texts, widths)).rstrip())

    print()
    line(head)
    line(['-' * width for width in widths])
    for row, texts in zip(rows, table):
        line(texts)
    print()
    for row in rows:
        for label in ('reason', 'hint', 'warning'):
            if row[label]:
                print(textwrap.fill(row[label], WIDTH, initial_indent=f'{row["code"]}, {label}: ',
                                    subsequent_indent='  ', break_long_words=False))
    print()


{'catalog': catalog, 'show': show}[sys.argv[1]]()
