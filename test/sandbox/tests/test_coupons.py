"""Coupons: stripe.md section 6, and the parameter rules of sections 1 and 2."""
from harness import DAY, SandboxTest


class CreateTest(SandboxTest):
    def test_answer_has_every_field(self):
        made = self.coupon(id='HALF', name='Half', max_redemptions=3)
        created = made.pop('created')
        self.assertAlmostEqual(created, self.now(), delta=2)
        self.assertEqual(made, {
            'id': 'HALF', 'object': 'coupon', 'amount_off': None, 'currency': None,
            'duration': 'once', 'duration_in_months': None, 'livemode': False,
            'max_redemptions': 3, 'metadata': {}, 'name': 'Half', 'percent_off': 50,
            'redeem_by': None, 'times_redeemed': 0, 'valid': True})

    def test_without_id_eight_alphanumerics(self):
        self.assertRegex(self.coupon()['id'], r'^[A-Za-z0-9]{8}$')

    def test_taken_id(self):
        self.coupon(id='A')
        error = self.refused('POST', 'coupons', {'id': 'A', 'percent_off': 1},
                             code='resource_already_exists')
        self.assertEqual(error['message'], 'Coupon already exists.')
        self.assertEqual(error['type'], 'invalid_request_error')
        self.assertIn('doc_url', error)
        self.assertIn('/logs/req_', error['request_log_url'])

    def test_unknown_parameter_is_named_by_its_path(self):
        self.refused('POST', 'coupons', {'percent_off': 1, 'nope': 1},
                     code='parameter_unknown', param='nope')
        self.refused('POST', 'coupons', {'percent_off': 1, 'applies_to[nope]': 1},
                     code='parameter_unknown', param='applies_to[nope]')
        self.refused('GET', 'coupons', {'nope': 1}, code='parameter_unknown', param='nope')

    def test_exactly_one_discount(self):
        self.refused('POST', 'coupons', {'percent_off': 1, 'amount_off': 1, 'currency': 'usd'},
                     code='parameters_exclusive', param='amount_off')
        self.refused('POST', 'coupons', {'duration': 'once'}, code='parameter_missing',
                     param='percent_off')

    def test_percent_range_and_precision(self):
        for good in ('0.01', '64.82', '100', '12.50'):
            self.assertEqual(self.coupon(percent_off=good)['percent_off'], float(good))
        for bad in ('0', '-1', '0.001', '100.01', '1000000', 'x', '12.345'):
            self.refused('POST', 'coupons', {'percent_off': bad}, param='percent_off')
        self.config(third_percent_decimal='round')
        self.assertEqual(self.coupon(percent_off='12.345')['percent_off'], 12.35)

    def test_amount(self):
        made = self.coupon(amount_off=500, currency='usd')
        self.assertEqual((made['amount_off'], made['currency'], made['percent_off']),
                         (500, 'usd', None))
        self.refused('POST', 'coupons', {'amount_off': 500}, code='parameter_missing',
                     param='currency')
        self.refused('POST', 'coupons', {'amount_off': '5.5', 'currency': 'usd'},
                     code='parameter_invalid_integer', param='amount_off')
        self.refused('POST', 'coupons', {'amount_off': 0, 'currency': 'usd'},
                     code='parameter_invalid_integer', param='amount_off')
        for bad in ('USD', 'xyz'):
            self.refused('POST', 'coupons', {'amount_off': 5, 'currency': bad}, param='currency')
        self.refused('POST', 'coupons', {'percent_off': 5, 'currency': 'usd'}, param='currency')

    def test_amounts_finer_than_the_currency(self):
        for currency, amount, good in (('kwd', 1001, 1010), ('isk', 150, 100)):
            self.refused('POST', 'coupons', {'amount_off': amount, 'currency': currency},
                         param='amount_off')
            self.coupon(amount_off=good, currency=currency)

    def test_duration(self):
        self.refused('POST', 'coupons', {'percent_off': 1, 'duration': 'repeating'},
                     param='duration')
        self.refused('POST', 'coupons', {'percent_off': 1, 'duration': 'never'}, param='duration')
        self.refused('POST', 'coupons', {'percent_off': 1, 'duration_in_months': 2},
                     param='duration_in_months')
        made = self.coupon(duration='repeating', duration_in_months=6)
        self.assertEqual((made['duration'], made['duration_in_months']), ('repeating', 6))

    def test_amount_for_ever_both_ways(self):
        self.coupon(amount_off=5, currency='usd', duration='forever')
        self.config(forever_amount_off='refuse')
        self.refused('POST', 'coupons', {'amount_off': 5, 'currency': 'usd',
                                         'duration': 'forever'}, param='duration')
        self.coupon(percent_off=5, duration='forever')

    def test_redeem_by_within_five_years(self):
        now = self.now()
        for bad in (now - 1, now + 5 * 366 * DAY + DAY):
            self.refused('POST', 'coupons', {'percent_off': 1, 'redeem_by': bad},
                         param='redeem_by')
        self.assertEqual(self.coupon(redeem_by=now + 5 * 365 * DAY)['redeem_by'],
                         now + 5 * 365 * DAY)

    def test_name_of_forty_characters(self):
        self.assertEqual(self.coupon(name='é' * 40)['name'], 'é' * 40)
        self.refused('POST', 'coupons', {'percent_off': 1, 'name': 'x' * 41}, param='name')

    def test_empty_value_unsets_or_is_refused(self):
        self.refused('POST', 'coupons', {'percent_off': ''}, code='parameter_invalid_empty',
                     param='percent_off')
        self.coupon(id='N', name='Named')
        self.assertIsNone(self.post('coupons/N', {'name': ''})['name'])

    def test_id_characters_both_ways(self):
        self.refused('POST', 'coupons', {'percent_off': 1, 'id': '25% off'}, param='id')
        self.config(coupon_id_characters='any')
        self.coupon(id='25% off')
        self.assertEqual(self.get('coupons/25%25%20off')['id'], '25% off')

    def test_products_must_exist(self):
        product = self.post('products', {'name': 'P'})['id']
        self.refused('POST', 'coupons', {'percent_off': 1, 'applies_to[products][0]': product,
                                         'applies_to[products][1]': 'prod_no'},
                     code='resource_missing', param='applies_to[products][1]')
        self.coupon(**{'id': 'P', 'applies_to[products][]': product})
        self.assertEqual(self.get('coupons/P', {'expand[]': 'applies_to'})['applies_to'],
                         {'products': [product]})

    def test_max_redemptions(self):
        for bad in ('0', 'many', '-1'):
            self.refused('POST', 'coupons', {'percent_off': 1, 'max_redemptions': bad},
                         code='parameter_invalid_integer', param='max_redemptions')


class CurrencyOptionsTest(SandboxTest):
    EUR = {'currency_options[eur][amount_off]': 400}

    def options(self, id: str) -> dict:
        return self.get(f'coupons/{id}', {'expand[]': 'currency_options'})['currency_options']

    def test_hidden_unless_expanded(self):
        made = self.coupon(id='A', amount_off=500, currency='usd', **self.EUR)
        self.assertNotIn('currency_options', made)
        self.assertEqual(self.options('A'),
                         {'usd': {'amount_off': 500}, 'eur': {'amount_off': 400}})

    def test_base_currency_omitted_on_request(self):
        self.config(currency_options_base='omit')
        self.coupon(id='A', amount_off=500, currency='usd', **self.EUR)
        self.assertEqual(self.options('A'), {'eur': {'amount_off': 400}})

    def test_rules(self):
        self.refused('POST', 'coupons', {'percent_off': 5, **self.EUR}, param='currency_options')
        amount = {'amount_off': 500, 'currency': 'usd'}
        self.refused('POST', 'coupons', {**amount, 'currency_options[EUR][amount_off]': 4},
                     param='currency_options[EUR]')
        self.refused('POST', 'coupons', {**amount, 'currency_options[eur][x]': 4},
                     code='parameter_unknown', param='currency_options[eur][x]')

    def test_update_adds_and_changes(self):
        self.coupon(id='A', amount_off=500, currency='usd', **self.EUR)
        self.post('coupons/A', {'currency_options[eur][amount_off]': 450,
                                'currency_options[gbp][amount_off]': 300})
        self.assertEqual(self.options('A'), {
            'usd': {'amount_off': 500}, 'eur': {'amount_off': 450}, 'gbp': {'amount_off': 300}})
        self.coupon(id='P')
        self.refused('POST', 'coupons/P', self.EUR, param='currency_options')


class MetadataTest(SandboxTest):
    def test_merge_remove_one_remove_all(self):
        self.coupon(id='M', **{'metadata[a]': 1, 'metadata[b]': 2})
        merged = self.post('coupons/M', {'metadata[b]': 3, 'metadata[c]': 4, 'metadata[a]': ''})
        self.assertEqual(merged['metadata'], {'b': '3', 'c': '4'})
        self.assertEqual(self.post('coupons/M', {'metadata': ''})['metadata'], {})

    def test_limits(self):
        fifty = {f'metadata[k{i}]': i for i in range(50)}
        self.coupon(id='M', **fifty)
        self.refused('POST', 'coupons/M', {'metadata[one_more]': 1}, param='metadata')
        self.post('coupons/M', {'metadata[one_more]': 1, 'metadata[k0]': ''})
        self.refused('POST', 'coupons/M', {f'metadata[{"k" * 41}]': 1}, param='metadata')
        self.refused('POST', 'coupons/M', {'metadata[k1]': 'v' * 501}, param='metadata[k1]')
        self.post('coupons/M', {'metadata[k1]': 'v' * 500})


class LifeTest(SandboxTest):
    def test_only_name_metadata_and_currency_options_change(self):
        self.coupon(id='A')
        for name in ('percent_off', 'duration', 'max_redemptions', 'redeem_by', 'id'):
            self.refused('POST', 'coupons/A', {name: 1}, code='parameter_unknown', param=name)
        self.assertEqual(self.post('coupons/A', {'name': 'New'})['name'], 'New')

    def test_delete(self):
        self.coupon(id='A')
        self.assertEqual(self.ok('DELETE', 'coupons/A'),
                         {'id': 'A', 'object': 'coupon', 'deleted': True})
        for method in ('GET', 'POST', 'DELETE'):
            self.refused(method, 'coupons/A', status=404, code='resource_missing', param='coupon')
        self.assertEqual(self.get('coupons')['data'], [])

    def test_deleted_id_both_ways(self):
        self.coupon(id='A')
        self.ok('DELETE', 'coupons/A')
        self.refused('POST', 'coupons', {'id': 'A', 'percent_off': 1},
                     code='resource_already_exists')
        self.config(deleted_coupon_id_reuse='allow')
        self.coupon(id='A', percent_off=7)
        self.assertEqual(self.get('coupons/A')['percent_off'], 7)

    def test_redeem_by_ends_it(self):
        self.coupon(id='A', redeem_by=self.now() + 100)
        self.advance(90)
        self.assertTrue(self.get('coupons/A')['valid'])
        self.advance(20)
        self.assertFalse(self.get('coupons/A')['valid'])

    def test_redemptions_exhaust_it(self):
        self.coupon(id='A', max_redemptions=2)
        self.control('POST', 'redeem', {'coupon': 'A'})
        self.assertTrue(self.get('coupons/A')['valid'])
        self.control('POST', 'redeem', {'coupon': 'A'})
        self.assertEqual(self.get('coupons/A')['times_redeemed'], 2)
        self.assertFalse(self.get('coupons/A')['valid'])
        self.control('POST', 'redeem', {'coupon': 'A'}, status=400)
