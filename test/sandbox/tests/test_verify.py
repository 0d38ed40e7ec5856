"""script/verify-stripe, with the sandbox in Stripe's place: each fact as assumed, and otherwise."""
import os
import subprocess
from typing import Dict

from config import SWITCHES
from harness import KEY, LIVE_KEY, PROGRAM, SandboxTest

SCRIPT = os.path.join(os.path.dirname(PROGRAM), '../../script/verify-stripe')

# The fact that a switch of the sandbox turns.
TURNED_BY = {
    'third_percent_decimal': 'a third decimal of percent_off is refused',
    'deleted_coupon_id_reuse': "a deleted coupon's id can't be used again",
    'deleted_coupon_expanded':
        'an expanded promotion code shows a deleted coupon as it was, not valid',
    'coupon_id_characters': 'coupon ids hold only A-Z a-z 0-9 _ -',
    'forever_amount_off': 'an amount off may be for ever',
    'currency_options_base': "expanded currency_options hold the coupon's own currency, too",
    'deleted_cursor': 'a deleted object is no cursor any more',
    'same_second': 'objects of one second are listed newest first',
    'minimum_amount_without_currency': 'minimum_amount needs minimum_amount_currency',
    'reactivation_clash': 'switching on a code whose text is taken is refused as creating one is',
    'promotion_code_updated_on_coupon_delete': 'deleting a coupon sends no promotion_code.updated',
    'promotion_code_updated_on_redemption': 'a redemption sends no promotion_code.updated',
}
# An event that is not seen at once.
UNSEEN = 'not seen in 0 s'
OF_REDEMPTION = TURNED_BY['promotion_code_updated_on_redemption']
OF_DISCOUNT = "a subscription's discount sends customer.discount.created"

# What the sandbox doesn't do is put into its mouth: path, what the parameters contain, the answer
# as assumed and another one, and the fact it is about.
PREVIEW, SESSIONS = '/v1/invoices/create_preview', '/v1/checkout/sessions'
SUBSCRIPTIONS = '/v1/subscriptions'
REFUSED = {'error': {'message': 'No.'}}


def invoice(*lines: tuple, tax: int = 0) -> dict:
    amounts = [{'amount': amount, 'discount_amounts': [{'amount': off}]} for amount, off in lines]
    return {'lines': {'data': amounts, 'has_more': False}, 'total_taxes': [{'amount': tax}],
            'total_discount_amounts': [{'amount': off} for _, off in lines]}


def part(length: int) -> dict:
    return {'data': [{}] * length, 'has_more': length < 11}


SAID = (
    (PREVIEW, '1000020', REFUSED, invoice(), 'a subscription holds at most 20 items'),
    (PREVIEW, '1000010', invoice(*[(1, 0)] * 10), invoice(*[(1, 0)] * 11),
     'an invoice shows its first 10 lines'),
    (PREVIEW, '20000', invoice((10000, 1000), (20000, 2000)), invoice((10000, 3000), (20000, 0)),
     'an amount off is spread over the lines in proportion'),
    (PREVIEW, 'txr_1', invoice(tax=500), invoice(tax=1000),
     'an amount off comes off before a tax that is not included'),
    (PREVIEW, '', invoice((20000, 3000)), invoice((20000, 6000)),
     'an amount off a product comes off once, whatever the quantity'),
    (SESSIONS, '1000010', {'id': 'cs_1', 'line_items': part(10)},
     {'id': 'cs_1', 'line_items': part(11)}, 'a Checkout session shows its first 10 line items'),
    (SUBSCRIPTIONS, '1000010', {'id': 'sub_1', 'items': part(10)},
     {'id': 'sub_1', 'items': part(11)}, 'a subscription shows its first 10 items'),
    (SESSIONS, 'true', REFUSED, {'id': 'cs_1'},
     'a Checkout session takes a box for codes or a discount, not both'),
    (SESSIONS, 'promo_', {'id': 'cs_1', 'discounts': [{}]},
     {'id': 'cs_1', 'discounts': [{'coupon': 'C'}]},
     "a session's discount by code leaves the coupon empty"),
    (SESSIONS, '', REFUSED, {'id': 'cs_1'},
     'Checkout refuses to take less than the minimum charge'),
)


class VerifyTest(SandboxTest):
    def start(self, key: str = KEY, wait: float = 0) -> subprocess.Popen:
        return subprocess.Popen(
            [SCRIPT, '--base', f'http://127.0.0.1:{self.sandbox.port}', '--wait', str(wait)],
            env={**os.environ, 'STRIPE_SECRET_KEY': key}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)

    def end(self, process: subprocess.Popen, status: int = 0) -> str:
        output = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, status, output)
        self.assertNotIn(KEY, output)
        return output

    def verdicts(self, output: str) -> Dict[str, str]:
        return {line[19:].split(' (')[0]: line[:18].strip() for line in output.splitlines()}

    def verify(self) -> Dict[str, str]:
        return self.verdicts(self.end(self.start()))

    def say(self, path: str, body: dict, contains: str = '', method: str = 'POST',
            **more: object) -> None:
        self.fault('status', status=400 if body is REFUSED else 200, body=body, times=0, **more,
                   match={'method': method, 'path': path, 'contains': contains})

    def test_each_switch(self):
        before = self.verify()
        self.assertEqual(TURNED_BY.keys(), SWITCHES.keys())
        for switch, fact in TURNED_BY.items():
            if fact == OF_REDEMPTION:
                continue  # below
            with self.subTest(switch):
                self.control('POST', 'reset')
                self.config(**{switch: SWITCHES[switch][1]})
                self.assertEqual(
                    before[fact], UNSEEN if fact.endswith('promotion_code.updated') else 'confirmed')
                self.assertEqual(self.verify(), {**before, fact: 'otherwise'})

    def test_what_the_sandbox_does_not_do(self):
        facts = {fact for *_, fact in SAID}
        before = self.verify()
        self.assertEqual({before[fact] for fact in facts}, {'could not be told'})
        for side, verdict in enumerate(('confirmed', 'otherwise')):
            self.control('POST', 'reset')
            self.say('/v1/tax_rates*', {'id': 'txr_1'})
            for path, contains, *answers, _ in SAID:
                self.say(path, answers[side], contains)
            self.say(SESSIONS + '/*', {})
            self.say(SUBSCRIPTIONS + '/*', {}, method='DELETE')
            after = self.verify()
            self.assertEqual({fact: after[fact] for fact in facts}, dict.fromkeys(facts, verdict))

    def test_transport(self):
        before = self.verify()
        self.say('/v1/promotion_codes', {}, method='GET', headers={'Content-Encoding': 'gzip'})
        self.say('/v1/products', {}, method='GET', headers={'Connection': 'close'})
        self.assertEqual(self.verify(), {
            **before, 'answers are compressed if asked for': 'confirmed',
            'connections stay open between requests': 'otherwise'})

    def test_payment_methods(self):
        before = self.verify()
        self.say('/v1/payment_methods/*', {})
        self.say('/v1/payment_methods', {'data': [{'customer': 'cus_other'}]}, method='GET')
        self.assertEqual(self.verify(), {
            **before,
            'payment methods without a customer are listed for all customers': 'otherwise'})

    def test_redemption(self):
        for told in (False, True):
            self.control('POST', 'reset')
            self.say(SUBSCRIPTIONS, {'id': 'sub_1', 'items': part(10)})
            self.say(SUBSCRIPTIONS + '/*', {}, method='DELETE')
            # Told of the deletion, it does not wait for that event.
            self.config(promotion_code_updated_on_redemption=told,
                        promotion_code_updated_on_coupon_delete=True)
            process = self.start(wait=60 if told else 0)
            if told:
                self.control('POST', 'redeem', {'promotion_code': self.subscribed(0)})
                self.say('/v1/events', {'data': [{'data': {'object': {
                    'promotion_code': self.subscribed(1)}}}]}, 'customer.discount', 'GET')
            found = self.verdicts(self.end(process))
            self.assertEqual((found[OF_REDEMPTION], found[OF_DISCOUNT]),
                             ('otherwise', 'confirmed') if told else (UNSEEN, UNSEEN))

    def subscribed(self, number: int) -> str:
        """The code in the request for that subscription."""
        def requests() -> list:
            return self.log('?method=POST&path=/v1/subscriptions')
        self.until(lambda: len(requests()) > number)
        return requests()[number]['params']['discounts[0][promotion_code]']

    def test_leaves_nothing_behind(self):
        self.verify()
        for kind in ('coupon', 'customer'):
            self.assertEqual(self.control('GET', f'state?object={kind}s')[f'{kind}s'], [])
        for kind in ('promotion_code', 'product'):
            left = self.control('GET', f'state?object={kind}s')[f'{kind}s']
            self.assertTrue(left)
            self.assertFalse(any(obj['active'] for obj in left))

    def test_says_what_it_left_behind(self):
        self.control('POST', 'keys', {'key': KEY, 'forbid': ['DELETE /v1/coupons']})
        self.assertIn('left behind: /v1/coupons/', self.end(self.start(), status=1))

    def test_takes_test_keys_only(self):
        for key in (LIVE_KEY, 'pk_test_0123456789', ''):
            self.assertIn('must hold a test key', self.end(self.start(key), status=1))
        self.control('POST', 'keys', {'key': KEY, 'revoked': True})
        self.assertIn('does not take the key', self.end(self.start(), status=1))
        self.assertEqual([entry['path'] for entry in self.log()], ['/v1/account'])
