"""Keys, modes, headers, URLs: stripe.md sections 1, 1.4 and 2."""
import base64

from harness import KEY, LIVE_KEY, SandboxTest


class AuthenticationTest(SandboxTest):
    def test_bearer_and_basic(self):
        self.get('account')
        basic = base64.b64encode(f'{KEY}:'.encode()).decode()
        self.get('account', key=None, headers={'Authorization': f'Basic {basic}'})
        self.get('account', key='rk_test_0123456789')

    def test_bad_keys(self):
        for key in (None, 'garbage', 'sk_test_', 'sk_test_abc', 'sk_other_0123456789'):
            error = self.refused('GET', 'account', key=key, status=401)
            self.assertEqual(error['type'], 'invalid_request_error')
        for scheme in ('Basic !', 'Digest x', 'Basic'):
            self.refused('GET', 'account', key=None, status=401,
                         headers={'Authorization': scheme})
        self.refused('GET', 'account', key='pk_test_0123456789', status=401,
                     code='secret_key_required')

    def test_no_answer_and_no_log_shows_a_key(self):
        self.control('POST', 'keys', {'key': KEY, 'revoked': True})
        error = self.refused('GET', 'account', status=401, code='api_key_expired')
        self.assertNotIn(KEY, error['message'])
        self.assertNotIn(KEY, str(self.log()))

    def test_revoked_and_restored(self):
        self.control('POST', 'keys', {'key': KEY, 'revoked': True})
        self.refused('GET', 'coupons', status=401, code='api_key_expired')
        self.get('coupons', key='sk_test_another_one')
        self.control('POST', 'keys', {'key': KEY, 'revoked': False})
        self.get('coupons')

    def test_restricted(self):
        self.control('POST', 'keys', {'key': KEY, 'account': 'acct_x',
                                      'forbid': ['POST /v1/coupons', 'GET /v1/account']})
        message = self.refused('POST', 'coupons', {'percent_off': 1}, status=403)['message']
        self.assertIn('rak_coupon_write', message)
        self.assertIn('acct_x', message)
        self.control('POST', 'keys', {'key': KEY, 'named': False})
        message = self.refused('POST', 'coupons', {'percent_off': 1}, status=403)['message']
        self.assertIn('rak_coupon_write', message)
        self.assertNotIn('acct_x', message)
        self.refused('POST', 'coupons/C', {'name': 1}, status=403)
        self.refused('GET', 'account', status=403)
        self.get('coupons')
        self.post('products', {'name': 'P'})


class ModeTest(SandboxTest):
    def test_live_and_test_objects_never_meet(self):
        self.coupon(id='C')
        self.refused('GET', 'coupons/C', key=LIVE_KEY, status=404, code='resource_missing',
                     param='coupon')
        live = self.post('coupons', {'id': 'C', 'percent_off': 9}, key=LIVE_KEY)
        self.assertTrue(live['livemode'])
        self.assertTrue(self.get('events', key=LIVE_KEY)['data'][0]['livemode'])
        self.assertEqual(self.get('coupons/C')['percent_off'], 50)
        state = self.control('GET', 'state?object=coupons&livemode=true')
        self.assertEqual([coupon['percent_off'] for coupon in state['coupons']], [9])

    def test_keys_of_one_account_share_its_objects(self):
        self.coupon(id='C')
        self.get('coupons/C', key='sk_test_another_one')
        self.control('POST', 'keys', {'key': 'sk_test_foreign_one', 'account': 'acct_other'})
        self.assertEqual(self.get('account', key='sk_test_foreign_one')['id'], 'acct_other')
        self.assertEqual(self.get('coupons', key='sk_test_foreign_one')['data'], [])
        self.assertRegex(self.get('account')['id'], '^acct_sandbox')


class HeaderTest(SandboxTest):
    def test_headers(self):
        sent = {'Idempotency-Key': 'k', 'Stripe-Version': '2026-09-30.endive'}
        first = self.request('POST', 'coupons', {'percent_off': 1}, headers=sent).headers
        second = self.request('GET', 'coupons').headers
        self.assertRegex(first['Request-Id'], r'^req_\w+$')
        self.assertNotEqual(first['Request-Id'], second['Request-Id'])
        self.assertEqual(first['Idempotency-Key'], 'k')
        self.assertEqual(first['Stripe-Version'], '2026-09-30.endive')
        self.assertEqual(second['Stripe-Version'], '2026-10-28.endive')
        self.assertIsNone(second['Idempotency-Key'])
        self.assertIsNone(first['Idempotent-Replayed'])
        self.assertEqual(first['Content-Type'], 'application/json')

    def test_date_follows_the_clock(self):
        self.control('POST', 'clock', {'set': 1800000000})
        self.assertTrue(self.request('GET', 'coupons').headers['Date'].startswith(
            'Fri, 15 Jan 2027 08:00:0'))

    def test_bad_version(self):
        self.refused('GET', 'coupons', headers={'Stripe-Version': 'new'})

    def test_unrecognized_urls(self):
        for method, path in (('GET', 'nope'), ('GET', 'coupons/C/more'), ('POST', 'account'),
                             ('DELETE', 'coupons'), ('GET', 'coupons/')):
            error = self.refused(method, path, status=404)
            self.assertIn('Unrecognized request URL', error['message'])
        self.assertEqual(self.sandbox.request('GET', '/').status, 404)
