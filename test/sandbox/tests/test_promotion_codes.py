"""Promotion codes: stripe.md section 7."""
from harness import DAY, OLD, SandboxTest


class CreateTest(SandboxTest):
    def setUp(self):
        super().setUp()
        self.coupon(id='C')

    def test_answer_has_every_field(self):
        made = self.code('C', code='Fall-20', **{'metadata[row]': 42})
        self.assertRegex(made.pop('id'), r'^promo_[A-Za-z0-9]{24}$')
        made.pop('created')
        self.assertEqual(made, {
            'object': 'promotion_code', 'active': True, 'code': 'Fall-20', 'customer': None,
            'customer_account': None, 'expires_at': None, 'livemode': False,
            'max_redemptions': None, 'metadata': {'row': '42'},
            'promotion': {'type': 'coupon', 'coupon': 'C'},
            'restrictions': {'first_time_transaction': False, 'minimum_amount': None,
                             'minimum_amount_currency': None},
            'times_redeemed': 0})

    def test_without_code_eight_upper_case_alphanumerics(self):
        self.assertRegex(self.code('C')['code'], r'^[A-Z0-9]{8}$')

    def test_promotion(self):
        self.refused('POST', 'promotion_codes', {'code': 'A'}, code='parameter_missing',
                     param='promotion')
        self.refused('POST', 'promotion_codes', {'promotion[coupon]': 'C'},
                     code='parameter_missing', param='promotion[type]')
        self.refused('POST', 'promotion_codes', {'promotion[type]': 'coupon'},
                     code='parameter_missing', param='promotion[coupon]')
        self.refused_code('NO', {}, code='resource_missing', param='promotion[coupon]')
        self.refused('POST', 'promotion_codes', {'coupon': 'C'}, code='parameter_unknown',
                     param='coupon')

    def test_characters_and_length(self):
        for bad in ('A B', 'Ä', 'A.B', 'x' * 501):
            self.refused_code('C', {'code': bad}, param='code')
        self.refused_code('C', {'code': ''}, code='parameter_invalid_empty', param='code')
        self.assertEqual(self.code('C', code='x' * 500)['code'], 'x' * 500)
        self.code('C', code='a_B-9')

    def test_expires_at_and_max_redemptions_within_the_coupon(self):
        limit = self.now() + 10 * DAY
        self.coupon(id='L', redeem_by=limit, max_redemptions=5)
        self.assertEqual(self.code('L')['expires_at'], limit)
        self.assertEqual(self.code('L', expires_at=limit - 5)['expires_at'], limit - 5)
        self.refused_code('L', {'expires_at': limit + 1}, param='expires_at')
        self.refused_code('L', {'max_redemptions': 6}, param='max_redemptions')
        self.assertEqual(self.code('L', max_redemptions=5)['max_redemptions'], 5)
        for bad in (self.now() - 1, self.now() + 5 * 366 * DAY + DAY):
            self.refused_code('C', {'expires_at': bad}, param='expires_at')

    def test_invalid_coupon(self):
        self.coupon(id='L', redeem_by=self.now() + 10)
        self.advance(20)
        self.refused_code('L', {}, code='coupon_expired', param='promotion[coupon]')

    def test_restrictions(self):
        made = self.code('C', {
            'restrictions[first_time_transaction]': 'true', 'restrictions[minimum_amount]': 5000,
            'restrictions[minimum_amount_currency]': 'usd',
            'restrictions[currency_options][eur][minimum_amount]': 4000})
        self.assertEqual(made['restrictions'], {
            'first_time_transaction': True, 'minimum_amount': 5000,
            'minimum_amount_currency': 'usd'})
        path = f'promotion_codes/{made["id"]}'
        self.post(path, {'restrictions[currency_options][gbp][minimum_amount]': 3000})
        expanded = self.get(path, {'expand[]': 'restrictions.currency_options'})
        self.assertEqual(expanded['restrictions']['currency_options'],
                         {'eur': {'minimum_amount': 4000}, 'gbp': {'minimum_amount': 3000}})
        self.refused_code('C', {'restrictions[minimum_amount]': 5}, code='parameter_missing',
                          param='restrictions[minimum_amount_currency]')
        self.refused_code('C', {'restrictions[first_time_transaction]': 'yes'},
                          param='restrictions[first_time_transaction]')

    def test_customer_must_exist(self):
        self.refused_code('C', {'customer': 'cus_no'}, code='resource_missing', param='customer')


class OldVersionTest(SandboxTest):
    """Before 2025-09-30.clover."""
    HEADERS = {'Stripe-Version': OLD}

    def test_shape_and_parameter(self):
        coupon = self.coupon(id='C')
        made = self.post('promotion_codes', {'coupon': 'C'}, headers=self.HEADERS)
        self.assertEqual(made['coupon'], coupon)
        self.assertNotIn('promotion', made)
        self.refused('POST', 'promotion_codes', {'promotion[type]': 'coupon',
                                                 'promotion[coupon]': 'C'},
                     headers=self.HEADERS, code='parameter_unknown', param='promotion')
        self.refused('POST', 'promotion_codes', {'coupon': 'NO'}, headers=self.HEADERS,
                     code='resource_missing', param='coupon')
        new = self.get(f'promotion_codes/{made["id"]}',
                       headers={'Stripe-Version': '2025-09-30.clover'})
        self.assertEqual(new['promotion'], {'type': 'coupon', 'coupon': 'C'})

    def test_default_version(self):
        self.config(api_version=OLD)
        self.coupon(id='C')
        reply = self.request('POST', 'promotion_codes', {'coupon': 'C'})
        self.assertIn('coupon', reply.json)
        self.assertEqual(reply.headers['Stripe-Version'], OLD)
        self.assertEqual(self.events()[-1]['api_version'], OLD)
        self.assertIn('coupon', self.events()[-1]['data']['object'])

    def test_deleted_coupon_stays_embedded(self):
        self.coupon(id='C')
        id = self.code('C')['id']
        self.ok('DELETE', 'coupons/C')
        old = self.get(f'promotion_codes/{id}', headers=self.HEADERS)
        self.assertEqual((old['coupon']['id'], old['coupon']['valid']), ('C', False))


class UniqueTest(SandboxTest):
    def setUp(self):
        super().setUp()
        self.coupon(id='C')
        self.customers = [self.post('customers', {'name': n})['id'] for n in 'ab']

    def assert_taken(self, params, text):
        error = self.refused_code('C', params)
        self.assertTrue(error['message'].startswith('An active promotion code with'))
        self.assertIn(f'`{text}`', error['message'])
        self.assertEqual(error['type'], 'invalid_request_error')

    def test_ignores_case_and_inactive_codes(self):
        first = self.code('C', code='Fall')
        self.assert_taken({'code': 'fALL'}, 'fALL')
        second = self.code('C', code='FALL', active='false')
        self.refused('POST', f'promotion_codes/{second["id"]}', {'active': 'true'})
        self.post(f'promotion_codes/{first["id"]}', {'active': 'false'})
        self.assertTrue(self.post(f'promotion_codes/{second["id"]}', {'active': 'true'})['active'])
        self.assert_taken({'code': 'fall'}, 'fall')

    def test_customer_codes_share_a_text_but_not_with_a_public_one(self):
        a, b = self.customers
        self.code('C', code='VIP', customer=a)
        self.code('C', code='vip', customer=b)
        self.assert_taken({'code': 'VIP', 'customer': a}, 'VIP')
        self.assert_taken({'code': 'VIP'}, 'VIP')
        self.code('C', code='ALL')
        self.assert_taken({'code': 'ALL', 'customer': a}, 'ALL')


class LifeTest(SandboxTest):
    def refused_activation(self, id):
        self.assertFalse(self.get(f'promotion_codes/{id}')['active'])
        self.refused('POST', f'promotion_codes/{id}', {'active': 'true'}, param='active')

    def test_only_some_fields_change(self):
        self.coupon(id='C')
        path = f'promotion_codes/{self.code("C", code="A")["id"]}'
        for name in ('code', 'promotion', 'customer', 'expires_at', 'max_redemptions'):
            self.refused('POST', path, {name: 1}, code='parameter_unknown', param=name)
        self.refused('POST', path, {'restrictions[minimum_amount]': 1},
                     code='parameter_unknown', param='restrictions[minimum_amount]')
        self.assertEqual(self.post(path, {'metadata[a]': 1})['metadata'], {'a': '1'})
        self.assertFalse(self.post(path, {'active': 'false'})['active'])
        self.assertTrue(self.post(path, {'active': 'true'})['active'])

    def test_no_delete_and_no_retrieval_by_text(self):
        self.coupon(id='C')
        id = self.code('C', code='TEXT')['id']
        self.assertEqual(self.request('DELETE', f'promotion_codes/{id}').status, 404)
        self.assertTrue(self.get(f'promotion_codes/{id}')['active'])
        self.refused('GET', 'promotion_codes/TEXT', status=404, code='resource_missing',
                     param='promotion_code')

    def test_deleted_coupon_ends_its_codes_for_ever(self):
        self.config(deleted_coupon_id_reuse='allow')
        self.coupon(id='C')
        on, off = self.code('C')['id'], self.code('C', active='false')['id']
        self.ok('DELETE', 'coupons/C')
        self.coupon(id='C')
        self.refused_activation(on)
        self.refused_activation(off)

    def test_expiry(self):
        self.coupon(id='C')
        id = self.code('C', code='SOON', expires_at=self.now() + 100)['id']
        self.advance(90)
        self.assertTrue(self.get(f'promotion_codes/{id}')['active'])
        self.advance(20)
        self.refused_activation(id)
        self.code('C', code='soon')  # the text is free again

    def test_expiry_of_the_coupon(self):
        limit = self.coupon(id='C', redeem_by=self.now() + 100)['redeem_by']
        id = self.code('C', expires_at=limit)['id']
        self.advance(110)
        self.refused_activation(id)

    def test_exhaustion(self):
        self.coupon(id='C', max_redemptions=3)
        limited, other = self.code('C', code='TWO', max_redemptions=2)['id'], self.code('C')['id']
        self.control('POST', 'redeem', {'code': 'two', 'times': 2})
        self.assertEqual(self.get(f'promotion_codes/{limited}')['times_redeemed'], 2)
        self.assertEqual(self.get('coupons/C')['times_redeemed'], 2)
        self.refused_activation(limited)
        self.assertTrue(self.get(f'promotion_codes/{other}')['active'])
        self.control('POST', 'redeem', {'promotion_code': other})
        self.refused_activation(other)
        self.assertFalse(self.get('coupons/C')['valid'])

    def test_refused_redemption_counts_nothing(self):
        self.coupon(id='C')
        customer = self.post('customers')['id']
        id = self.code('C', code='ONE', max_redemptions=1, customer=customer)['id']
        for body in ({'code': 'NO'}, {'code': 'ONE'}, {'code': 'ONE', 'customer': 'cus_x'},
                     {'code': 'ONE', 'customer': customer, 'times': 2}):
            self.control('POST', 'redeem', body, status=400)
        self.assertEqual(self.get(f'promotion_codes/{id}')['times_redeemed'], 0)
        self.assertEqual(self.get('coupons/C')['times_redeemed'], 0)
        self.control('POST', 'redeem', {'code': 'ONE', 'customer': customer})
        self.assertEqual(self.get('coupons/C')['times_redeemed'], 1)
