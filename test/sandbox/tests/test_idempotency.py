"""Idempotency: stripe.md section 4."""
import threading

from harness import DAY, KEY, LIVE_KEY, SandboxTest


class IdempotencyTest(SandboxTest):
    def send(self, path='coupons', params=None, key='k', api_key=KEY, connection=None):
        return self.request('POST', path, params or {'percent_off': 5}, key=api_key,
                            headers={'Idempotency-Key': key}, connection=connection)

    def assert_executed_anew(self, first, second):
        self.assertEqual((second.status, second.headers['Idempotent-Replayed']),
                         (first.status, None))
        self.assertNotEqual(second.body, first.body)

    def test_replay(self):
        first, second = self.send(), self.send()
        self.assertEqual((second.status, second.body), (first.status, first.body))
        self.assertEqual(second.headers['Idempotent-Replayed'], 'true')
        self.assertNotEqual(second.headers['Request-Id'], first.headers['Request-Id'])
        self.assertEqual(len(self.get('coupons')['data']), 1)
        self.assertEqual(len(self.events()), 1)
        self.assertEqual([entry['replayed'] for entry in self.log('?method=POST')], [False, True])

    def test_order_and_style_of_parameters_do_not_matter(self):
        self.send(params={'percent_off': 5, 'applies_to[products][]': self.product()})
        again = self.send(params={'applies_to[products][0]': 'p', 'percent_off': 5})
        self.assertEqual(again.headers['Idempotent-Replayed'], 'true')

    def product(self):
        return self.post('products', {'id': 'p', 'name': 'P'})['id']

    def test_other_parameters_or_path(self):
        self.send()
        for path, params in (('coupons', {'percent_off': 6}), ('products', {'percent_off': 5})):
            reply = self.send(path, params)
            self.assertEqual((reply.status, reply.json['error']['type']),
                             (400, 'idempotency_error'))

    def test_executed_refusals_are_kept(self):
        self.coupon(id='C')
        taken = self.send(params={'id': 'C', 'percent_off': 5})
        self.assertEqual(taken.status, 400)
        self.ok('DELETE', 'coupons/C')
        self.config(deleted_coupon_id_reuse='allow')
        again = self.send(params={'id': 'C', 'percent_off': 5})
        self.assertEqual((again.body, again.headers['Idempotent-Replayed']), (taken.body, 'true'))

    def test_validation_and_authentication_are_not_kept(self):
        self.config(forever_amount_off='refuse')
        params = {'amount_off': 5, 'currency': 'usd', 'duration': 'forever'}
        self.assertEqual(self.send(params=params).status, 400)
        self.config(forever_amount_off='allow')
        self.assertEqual(self.send(params=params).status, 200)
        self.control('POST', 'keys', {'key': KEY, 'revoked': True})
        self.assertEqual(self.send(key='k2').status, 401)
        self.control('POST', 'keys', {'key': KEY, 'revoked': False})
        self.assertEqual(self.send(key='k2').status, 200)

    def test_limiter_is_not_kept_and_server_error_is(self):
        self.fault('status', status=429)
        self.assertEqual(self.send(key='a').status, 429)
        self.assertEqual(self.send(key='a').status, 200)
        self.fault('status', status=500, stored=True, execute=True)
        first, second = self.send(key='b'), self.send(key='b')
        self.assertEqual((first.status, first.headers['Idempotent-Replayed']), (500, None))
        self.assertEqual((second.status, second.body), (500, first.body))
        self.assertEqual(second.headers['Idempotent-Replayed'], 'true')
        self.assertEqual(len(self.get('coupons')['data']), 2)  # both a and b were executed

    def test_scope_is_account_and_mode(self):
        first = self.send()
        self.assert_executed_anew(first, self.send(api_key=LIVE_KEY))
        other = 'sk_test_another_one'
        self.assertEqual(self.send(api_key=other).body, first.body)
        self.control('POST', 'keys', {'key': other, 'account': 'acct_other'})
        self.assert_executed_anew(first, self.send(api_key=other))

    def test_pruned_after_a_day(self):
        first = self.send()
        self.advance(DAY - 60)
        self.assertEqual(self.send().body, first.body)
        self.advance(120)
        self.assert_executed_anew(first, self.send())

    def test_no_effect_on_get_and_delete(self):
        self.coupon(id='C')
        headers = {'Idempotency-Key': 'k'}
        self.ok('DELETE', 'coupons/C', headers=headers)
        reply = self.request('DELETE', 'coupons/C', headers=headers)
        self.assertEqual((reply.status, reply.headers['Idempotency-Key']), (404, 'k'))
        self.assertIsNone(reply.headers['Idempotent-Replayed'])

    def test_in_flight(self):
        self.fault('delay', seconds='until released')
        slow = []
        connection = self.sandbox.connect()
        thread = threading.Thread(
            target=lambda: slow.append(self.send(connection=connection)))
        thread.start()
        self.until(lambda: self.control('GET', 'faults')['stalled'] == 1)
        reply = self.send()
        self.assertEqual((reply.status, reply.json['error']['code']),
                         (409, 'idempotency_key_in_use'))
        self.control('POST', 'faults/release')
        thread.join()
        connection.close()
        self.assertEqual(slow[0].status, 200)
        self.assertEqual(self.send().body, slow[0].body)

    def test_long_key(self):
        self.assertEqual(self.send(key='k' * 255).status, 200)
        self.assertEqual(self.send(key='k' * 256).status, 400)
