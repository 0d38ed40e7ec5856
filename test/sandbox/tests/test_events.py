"""Events: stripe.md sections 11.2 and 11.4."""
from harness import DAY, SandboxTest


class EventTest(SandboxTest):
    def types(self, **filters):
        return [event['type'] for event in self.events(**filters)]

    def test_envelope(self):
        reply = self.request('POST', 'coupons', {'id': 'A', 'percent_off': 5},
                             headers={'Idempotency-Key': 'our-key'})
        event, = self.events()
        self.assertRegex(event.pop('id'), '^evt_')
        self.assertEqual(event.pop('created'), reply.json['created'])
        self.assertEqual(event, {
            'object': 'event', 'api_version': '2026-10-28.endive', 'livemode': False,
            'pending_webhooks': 0, 'type': 'coupon.created', 'data': {'object': reply.json},
            'request': {'id': reply.headers['Request-Id'], 'idempotency_key': 'our-key'}})

    def test_one_event_per_change(self):
        product = self.post('products', {'name': 'P'})['id']
        price = self.post('prices', {'product': product, 'currency': 'usd', 'unit_amount': 1})
        self.post(f'prices/{price["id"]}', {'active': 'false'})
        self.post(f'products/{product}', {'name': 'Q'})
        self.coupon(id='C')
        self.post('coupons/C', {'name': 'N'})
        code = self.code('C')
        self.post(f'promotion_codes/{code["id"]}', {'active': 'false'})
        self.ok('DELETE', 'coupons/C')
        self.post('customers')
        self.assertEqual(self.types(), [
            'product.created', 'price.created', 'price.updated', 'product.updated',
            'coupon.created', 'coupon.updated', 'promotion_code.created',
            'promotion_code.updated', 'coupon.deleted', 'customer.created'])

    def test_none_without_a_change(self):
        self.coupon(id='C', name='N')
        self.post('coupons/C', {'name': 'N'})
        self.get('coupons/C')
        self.refused('POST', 'coupons', {'id': 'C', 'percent_off': 1},
                     code='resource_already_exists')
        self.assertEqual(self.types(), ['coupon.created'])

    def test_previous_attributes(self):
        self.coupon(id='C', name='Old', **{'metadata[a]': 1, 'metadata[b]': 2})
        self.post('coupons/C', {'name': 'New', 'metadata[b]': 3, 'metadata[c]': 4})
        data = self.events()[-1]['data']
        self.assertEqual(data['previous_attributes'],
                         {'name': 'Old', 'metadata': {'b': '2', 'c': None}})
        self.assertEqual(data['object']['metadata'], {'a': '1', 'b': '3', 'c': '4'})
        self.assertNotIn('previous_attributes', self.events()[0]['data'])

    def test_nothing_hidden_is_shown(self):
        product = self.post('products', {'name': 'P'})['id']
        self.coupon(**{'id': 'C', 'applies_to[products][0]': product, 'expand[]': 'applies_to'})
        self.assertNotIn('applies_to', self.events()[-1]['data']['object'])

    def test_deleted_coupon_is_shown_whole_and_invalid(self):
        self.coupon(id='C', name='N')
        self.ok('DELETE', 'coupons/C')
        shown = self.events()[-1]['data']['object']
        self.assertEqual((shown['name'], shown['valid']), ('N', False))
        self.assertNotIn('deleted', shown)

    def test_codes_of_a_deleted_coupon_both_ways(self):
        for told, expected in ((False, 0), (True, 1)):
            self.config(promotion_code_updated_on_coupon_delete=told)
            self.coupon(id=f'C{told}')
            self.code(f'C{told}')
            self.code(f'C{told}', active='false')
            self.ok('DELETE', f'coupons/C{told}')
            self.assertEqual(self.types().count('promotion_code.updated'), expected)

    def test_redemption_both_ways(self):
        self.coupon(id='C')
        self.code('C', code='X')
        self.control('POST', 'redeem', {'code': 'X'})
        self.assertEqual(self.types(type='promotion_code.updated'), [])
        self.config(promotion_code_updated_on_redemption=True)
        self.control('POST', 'redeem', {'code': 'X'})
        event, = self.events(type='promotion_code.updated')
        self.assertEqual(event['data']['previous_attributes'], {'times_redeemed': 1})
        self.assertEqual(event['request'], {'id': None, 'idempotency_key': None})

    def test_filters(self):
        self.coupon(id='C')
        self.code('C')
        self.ok('DELETE', 'coupons/C')
        self.assertEqual(self.types(type='coupon.*'), ['coupon.created', 'coupon.deleted'])
        self.assertEqual(self.types(type='coupon.deleted'), ['coupon.deleted'])
        self.assertEqual(len(self.types(type='*')), 3)
        self.assertEqual(self.types(**{'types[0]': 'coupon.deleted',
                                       'types[1]': 'promotion_code.created'}),
                         ['promotion_code.created', 'coupon.deleted'])
        self.assertEqual(self.types(delivery_success='false'), [])
        self.assertEqual(len(self.types(**{'created[gte]': self.now() - 60})), 3)
        self.refused('GET', 'events', {'type': 'a.b', 'types[]': 'c.d'},
                     code='parameters_exclusive', param='type')
        self.refused('GET', 'events', {f'types[{i}]': 'a.b' for i in range(21)}, param='types')

    def test_forward_walk(self):
        for i in range(7):
            self.coupon(id=f'C{i}')
        events = self.events()
        page = self.get('events', {'limit': 3, 'ending_before': events[1]['id']})
        self.assertEqual([event['data']['object']['id'] for event in page['data']],
                         ['C4', 'C3', 'C2'])
        self.assertTrue(page['has_more'])

    def test_kept_for_thirty_days(self):
        self.coupon(id='OLD')
        old = self.events()[0]['id']
        self.advance(29 * DAY)
        self.coupon(id='NEW')
        self.assertEqual(self.get(f'events/{old}')['id'], old)
        self.advance(2 * DAY)
        self.assertEqual(self.types(), ['coupon.created'])
        self.refused('GET', f'events/{old}', status=404, code='resource_missing', param='id')
        self.refused('GET', 'events', {'ending_before': old}, code='resource_missing',
                     param='ending_before')
        self.assertEqual(self.get('coupons/OLD')['id'], 'OLD')

    def test_rendering_ignores_the_version_of_the_reader(self):
        self.coupon(id='C')
        self.code('C')
        event = self.get('events', {'limit': 1}, headers={'Stripe-Version': '2024-06-20'})
        self.assertIn('promotion', event['data'][0]['data']['object'])

    def test_cannot_be_made(self):
        self.assertEqual(self.request('POST', 'events', {'type': 'x'}).status, 404)
