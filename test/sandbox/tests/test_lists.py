"""Pagination, filters and expand: stripe.md sections 1.3 and 5."""
from harness import OLD, SandboxTest


class PageTest(SandboxTest):
    def setUp(self):
        super().setUp()
        for i in range(12):
            self.coupon(id=f'C{i}')

    def ids(self, **params):
        page = self.get('coupons', params)
        return [int(coupon['id'][1:]) for coupon in page['data']], page['has_more']

    def test_envelope_and_defaults(self):
        page = self.get('coupons')
        self.assertEqual((page['object'], page['url']), ('list', '/v1/coupons'))
        self.assertEqual(set(page), {'object', 'data', 'has_more', 'url'})
        self.assertEqual(self.ids(), (list(range(11, 1, -1)), True))

    def test_limit_is_clamped(self):
        self.assertEqual(self.ids(limit=0), ([11], True))
        self.assertEqual(self.ids(limit=-5), ([11], True))
        self.assertEqual(self.ids(limit=12), (list(range(11, -1, -1)), False))
        for i in range(12, 105):
            self.coupon(id=f'C{i}')
        self.assertEqual(len(self.ids(limit=1000)[0]), 100)
        self.refused('GET', 'coupons', {'limit': 'x'}, code='parameter_invalid_integer',
                     param='limit')

    def test_cursors(self):
        self.assertEqual(self.ids(limit=3, starting_after='C9'), ([8, 7, 6], True))
        self.assertEqual(self.ids(limit=3, starting_after='C2'), ([1, 0], False))
        self.assertEqual(self.ids(limit=3, ending_before='C2'), ([5, 4, 3], True))
        self.assertEqual(self.ids(limit=3, ending_before='C9'), ([11, 10], False))
        self.assertEqual(self.ids(ending_before='C11'), ([], False))

    def test_bad_cursors(self):
        self.refused('GET', 'coupons', {'starting_after': 'C1', 'ending_before': 'C2'},
                     code='parameters_exclusive', param='starting_after')
        for cursor in ('starting_after', 'ending_before'):
            self.refused('GET', 'coupons', {cursor: 'NO'}, code='resource_missing', param=cursor)

    def test_walk_survives_inserts_and_deletes(self):
        first, _ = self.ids(limit=4)
        self.coupon(id='C99')
        self.ok('DELETE', 'coupons/C5')
        self.assertEqual(self.ids(limit=4, starting_after=f'C{first[-1]}'), ([7, 6, 4, 3], True))

    def test_created(self):
        now = self.now()
        self.advance(1000)
        self.coupon(id='C12')
        new = self.get('coupons/C12')['created']
        for bound, expected in (({'created[gte]': new}, [12]), ({'created[gt]': new}, []),
                                ({'created': new}, [12]), ({'created[lte]': new}, 10),
                                ({'created[lt]': new, 'created[gt]': now + 500}, [])):
            found, _ = self.ids(**bound)
            self.assertEqual(found if isinstance(expected, list) else len(found), expected, bound)
        self.refused('GET', 'coupons', {'created[gte]': 'x'}, code='parameter_invalid_integer',
                     param='created[gte]')
        self.refused('GET', 'coupons', {'created[ge]': 1}, code='parameter_unknown',
                     param='created[ge]')

    def test_newest_created_first_even_if_the_clock_went_back(self):
        self.advance(-5000)
        self.coupon(id='C50')
        self.assertEqual(self.ids(limit=1, starting_after='C0'), ([50], False))


class FilterTest(SandboxTest):
    def test_promotion_codes(self):
        self.coupon(id='A')
        self.coupon(id='B')
        customer = self.post('customers')['id']
        one = self.code('A', code='One', customer=customer)['id']
        two = self.code('B', code='TWO')['id']
        off = self.code('B', code='one', active='false')['id']

        def found(**filters):
            return [code['id'] for code in self.get('promotion_codes', filters)['data']]
        self.assertEqual(found(), [off, two, one])
        self.assertEqual(found(active='true'), [two, one])
        self.assertEqual(found(active='false'), [off])
        self.assertEqual(found(code='ONE'), [off, one])
        self.assertEqual(found(code='on'), [])
        self.assertEqual(found(code='one', active='true'), [one])
        self.assertEqual(found(coupon='B'), [off, two])
        self.assertEqual(found(customer=customer), [one])
        self.refused('GET', 'promotion_codes', {'coupon': 'NO'}, code='resource_missing',
                     param='coupon')

    def test_products(self):
        a, b = (self.post('products', {'name': name})['id'] for name in 'AB')
        off = self.post('products', {'name': 'C', 'active': 'false'})['id']

        def found(filters):
            return [product['id'] for product in self.get('products', filters)['data']]
        self.assertEqual(found({}), [off, b, a])
        self.assertEqual(found({'active': 'false'}), [off])
        self.assertEqual(found({'ids[0]': a, 'ids[1]': off}), [off, a])


class ExpandTest(SandboxTest):
    def setUp(self):
        super().setUp()
        self.product = self.post('products', {'name': 'P'})['id']
        self.coupon(**{'id': 'C', 'applies_to[products][0]': self.product})
        self.made = self.code('C', code='X')

    def test_hidden_field_on_every_call(self):
        params = {'percent_off': 1, 'applies_to[products][0]': self.product}
        self.assertNotIn('applies_to', self.post('coupons', params))
        self.assertIn('applies_to', self.post('coupons', {**params, 'expand[]': 'applies_to'}))
        self.assertIn('applies_to', self.post('coupons/C', {'expand[]': 'applies_to'}))
        listed = self.get('coupons', {'expand[]': 'data.applies_to'})['data']
        self.assertIn('applies_to', listed[0])
        self.assertNotIn('applies_to', self.get('coupons')['data'][0])
        self.coupon(id='ALL')
        self.assertNotIn('applies_to', self.get('coupons/ALL', {'expand[]': 'applies_to'}))

    def test_nested(self):
        path = f'promotion_codes/{self.made["id"]}'
        coupon = self.get(path, {'expand[]': 'promotion.coupon'})['promotion']['coupon']
        self.assertEqual(coupon['id'], 'C')
        self.assertNotIn('applies_to', coupon)
        deep = self.get('promotion_codes', {'expand[]': 'data.promotion.coupon.applies_to'})
        self.assertEqual(deep['data'][0]['promotion']['coupon']['applies_to'],
                         {'products': [self.product]})
        self.assertEqual(self.get(path)['promotion']['coupon'], 'C')

    def test_nested_before_clover(self):
        old = self.get('promotion_codes', {'expand[]': 'data.coupon.applies_to'},
                       headers={'Stripe-Version': OLD})
        self.assertIn('applies_to', old['data'][0]['coupon'])
        self.refused('GET', 'promotion_codes', {'expand[]': 'data.promotion.coupon'},
                     headers={'Stripe-Version': OLD}, param='expand')

    def test_deleted_coupon(self):
        self.ok('DELETE', 'coupons/C')
        code = f'promotion_codes/{self.made["id"]}', {'expand[]': 'promotion.coupon'}
        coupon = self.get(*code)['promotion']['coupon']
        self.assertEqual((coupon['percent_off'], coupon['valid']), (50, False))
        self.config(deleted_coupon_expanded='marker')
        self.assertEqual(self.get(*code)['promotion']['coupon'],
                         {'id': 'C', 'object': 'coupon', 'deleted': True})

    def test_at_most_four_levels(self):
        price = self.post('prices', {'product': self.product, 'currency': 'usd',
                                     'unit_amount': 1})['id']
        self.post(f'products/{self.product}', {'default_price': price})
        four = self.get('prices', {'expand[]': 'data.product.default_price.product'})
        self.assertEqual(four['data'][0]['product']['default_price']['product']['name'], 'P')
        self.refused('GET', 'prices', {
            'expand[]': 'data.product.default_price.product.default_price'}, param='expand')

    def test_refused(self):
        for path in ('nope', 'name', 'applies_to.products', 'data.applies_to'):
            self.refused('GET', 'coupons/C', {'expand[]': path}, param='expand')
        for path in ('applies_to', 'data', 'data.nope'):
            self.refused('GET', 'coupons', {'expand[]': path}, param='expand')
        self.refused('POST', 'coupons', {'percent_off': 1, 'id': 'D', 'expand[]': 'x'},
                     param='expand')
        self.refused('GET', 'coupons/D', status=404, code='resource_missing', param='coupon')
