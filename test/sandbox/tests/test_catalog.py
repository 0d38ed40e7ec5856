"""Products, prices and customers: stripe.md section 10."""
from harness import SandboxTest


class ProductTest(SandboxTest):
    def test_create_update_delete(self):
        made = self.post('products', {'id': 'plan', 'name': 'Plan', 'description': 'Text'})
        self.assertEqual((made['id'], made['active'], made['type'], made['default_price']),
                         ('plan', True, 'service', None))
        self.advance(60)
        changed = self.post('products/plan', {'active': 'false', 'description': ''})
        self.assertEqual((changed['active'], changed['description']), (False, None))
        self.assertGreater(changed['updated'], made['updated'])
        self.assertTrue(self.ok('DELETE', 'products/plan')['deleted'])
        self.refused('GET', 'products/plan', status=404, code='resource_missing', param='id')

    def test_rules(self):
        self.refused('POST', 'products', {}, code='parameter_missing', param='name')
        self.post('products', {'id': 'p', 'name': 'P'})
        self.refused('POST', 'products', {'id': 'p', 'name': 'P'}, code='resource_already_exists')
        self.assertRegex(self.post('products', {'name': 'Q'})['id'], '^prod_')

    def test_not_deleted_with_prices(self):
        made = self.post('products', {'name': 'P', 'default_price_data[currency]': 'usd',
                                      'default_price_data[unit_amount]': 900})
        price = self.get(f'prices/{made["default_price"]}')
        self.assertEqual((price['product'], price['unit_amount']), (made['id'], 900))
        self.refused('DELETE', f'products/{made["id"]}')

    def test_default_price_is_one_of_its_own(self):
        p, q = (self.post('products', {'name': name})['id'] for name in 'PQ')
        price = self.post('prices', {'product': q, 'currency': 'usd', 'unit_amount': 1})['id']
        self.refused('POST', f'products/{p}', {'default_price': price}, param='default_price')
        self.assertEqual(self.post(f'products/{q}', {'default_price': price})['default_price'],
                         price)


class PriceTest(SandboxTest):
    def setUp(self):
        super().setUp()
        self.product = self.post('products', {'name': 'P'})['id']

    def price(self, **values):
        return self.post('prices', {'product': self.product, 'currency': 'usd',
                                    'unit_amount': 1000, **values})

    def test_recurring(self):
        made = self.price(**{'recurring[interval]': 'month', 'nickname': 'N'})
        self.assertEqual(made['recurring'], {
            'interval': 'month', 'interval_count': 1, 'meter': None, 'trial_period_days': None,
            'usage_type': 'licensed'})
        self.assertEqual((made['type'], made['unit_amount'], made['unit_amount_decimal'],
                          made['billing_scheme']), ('recurring', 1000, '1000', 'per_unit'))
        self.assertEqual(self.price()['type'], 'one_time')

    def test_decimal_amount(self):
        base = {'product': self.product, 'currency': 'usd'}
        part = self.post('prices', {**base, 'unit_amount_decimal': '0.5'})
        self.assertEqual((part['unit_amount'], part['unit_amount_decimal']), (None, '0.5'))
        whole = self.post('prices', {**base, 'unit_amount_decimal': '100.0'})
        self.assertEqual((whole['unit_amount'], whole['unit_amount_decimal']), (100, '100'))

    def test_rules(self):
        self.refused('POST', 'prices', {'product': self.product, 'unit_amount': 1},
                     code='parameter_missing', param='currency')
        self.refused('POST', 'prices', {'currency': 'usd', 'unit_amount': 1},
                     code='parameter_missing', param='product')
        self.refused('POST', 'prices', {'product': self.product, 'currency': 'usd'},
                     code='parameter_missing', param='unit_amount')
        self.refused('POST', 'prices', {'product': 'prod_no', 'currency': 'usd', 'unit_amount': 1},
                     code='resource_missing', param='product')

    def test_few_fields_change_and_no_delete(self):
        id = self.price()['id']
        self.refused('POST', f'prices/{id}', {'unit_amount': 1}, code='parameter_unknown',
                     param='unit_amount')
        self.assertFalse(self.post(f'prices/{id}', {'active': 'false'})['active'])
        self.assertEqual(self.request('DELETE', f'prices/{id}').status, 404)

    def test_hidden_fields(self):
        tiers = {'billing_scheme': 'tiered', 'tiers_mode': 'graduated',
                 'tiers[0][up_to]': 10, 'tiers[0][unit_amount]': 500,
                 'tiers[1][up_to]': 'inf', 'tiers[1][flat_amount]': 100,
                 'currency_options[eur][unit_amount]': 7}
        made = self.post('prices', {'product': self.product, 'currency': 'usd', **tiers})
        self.assertIsNone(made['unit_amount'])
        self.assertFalse({'tiers', 'currency_options'} & set(made))
        full = self.get(f'prices/{made["id"]}', {'expand[0]': 'tiers',
                                                 'expand[1]': 'currency_options'})
        self.assertEqual([tier['up_to'] for tier in full['tiers']], [10, None])
        self.assertEqual(full['tiers'][1]['flat_amount_decimal'], '100')
        self.assertEqual(set(full['currency_options']), {'usd', 'eur'})

    def test_lookup_key_belongs_to_one_price(self):
        first = self.price(lookup_key='pro')['id']
        self.refused('POST', 'prices', {'product': self.product, 'currency': 'usd',
                                        'unit_amount': 1, 'lookup_key': 'pro'}, param='lookup_key')
        second = self.price(lookup_key='pro', transfer_lookup_key='true')['id']
        self.assertIsNone(self.get(f'prices/{first}')['lookup_key'])
        found = self.get('prices', {'lookup_keys[]': 'pro'})['data']
        self.assertEqual([price['id'] for price in found], [second])

    def test_filters_and_active_by_default(self):
        month = self.price(**{'recurring[interval]': 'month'})['id']
        euro = self.price(currency='eur')['id']
        off = self.price(active='false')['id']

        def found(**filters):
            return [price['id'] for price in self.get('prices', filters)['data']]
        self.assertEqual(found(), [euro, month])
        self.assertEqual(found(active='false'), [off])
        self.assertEqual(found(currency='eur'), [euro])
        self.assertEqual(found(type='recurring'), [month])
        self.assertEqual(found(**{'recurring[interval]': 'month'}), [month])
        self.assertEqual(found(**{'recurring[interval]': 'year'}), [])
        self.assertEqual(found(product='prod_other'), [])

    def test_product_made_with_it(self):
        made = self.post('prices', {'product_data[name]': 'New', 'currency': 'usd',
                                    'unit_amount': 5, 'expand[]': 'product'})
        self.assertEqual(made['product']['name'], 'New')


class CustomerTest(SandboxTest):
    def test_deleted_one_is_answered_by_its_marker(self):
        id = self.post('customers', {'email': 'a@example.com'})['id']
        self.assertRegex(id, '^cus_')
        self.assertEqual(self.get('customers', {'email': 'a@example.com'})['data'][0]['id'], id)
        self.ok('DELETE', f'customers/{id}')
        self.assertEqual(self.get(f'customers/{id}'),
                         {'id': id, 'object': 'customer', 'deleted': True})
        self.refused('GET', 'customers/cus_no', status=404, code='resource_missing', param='id')
