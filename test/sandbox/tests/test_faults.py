"""The faults of /_sandbox/faults on the wire, and what was executed."""
import gzip
import http.client
import json
import socket
import threading

from harness import SandboxTest

KEYED = {'Idempotency-Key': 'k'}


class FaultTest(SandboxTest):
    def make(self, **options):
        return self.request('POST', 'coupons', {'percent_off': 5}, headers=KEYED, **options)

    def made(self):
        return len(self.control('GET', 'state?object=coupons')['coupons'])

    def replayed(self):
        """Whether the resent request finds its answer stored."""
        reply = self.make()
        self.assertEqual(reply.status, 200)
        return reply.headers['Idempotent-Replayed'] == 'true'

    def in_background(self, action):
        """Run the action until it stalls; returns the function that ends it."""
        thread = threading.Thread(target=action)
        thread.start()
        self.until(lambda: self.control('GET', 'faults')['stalled'] == 1)

        def finish():
            self.control('POST', 'faults/release')
            thread.join()
        return finish

    def stalled_client_that_leaves(self):
        connection = self.sandbox.connect()
        connection.request('POST', '/v1/coupons', 'percent_off=5',
                           {'Authorization': 'Bearer sk_test_0123456789', **KEYED})
        self.until(lambda: self.control('GET', 'faults')['stalled'] == 1)
        connection.close()

    # Answers in place of the real one.

    def test_status(self):
        self.fault('status', status=503, headers={'Retry-After': '2', 'Request-Id': None},
                   body={'error': {'type': 'api_error'}})
        reply = self.make()
        self.assertEqual((reply.status, reply.headers['Retry-After'],
                          reply.headers['Request-Id'], reply.json),
                         (503, '2', None, {'error': {'type': 'api_error'}}))
        self.assertEqual(self.made(), 0)
        self.assertFalse(self.replayed())

    def test_status_after_execution_with_the_real_answer_stored(self):
        self.fault('status', status=502, execute=True)
        self.assertEqual(self.make().status, 502)
        self.assertEqual(self.made(), 1)
        self.assertTrue(self.replayed())

    def test_status_stored_without_execution(self):
        self.fault('status', status=500, stored=True)
        self.assertEqual([self.make().status, self.make().status], [500, 500])
        self.assertEqual(self.made(), 0)

    def test_limiter_body(self):
        self.fault('status', status=429, headers={'Stripe-Rate-Limited-Reason': 'global-rate'})
        reply = self.make()
        self.assertEqual(reply.json['error']['code'], 'rate_limit')
        self.assertEqual(reply.headers['Stripe-Rate-Limited-Reason'], 'global-rate')

    def test_409(self):
        self.fault('409_in_flight')
        reply = self.make()
        self.assertEqual((reply.status, reply.json['error']['code']),
                         (409, 'idempotency_key_in_use'))
        self.assertFalse(self.replayed())

    def test_redirect(self):
        self.fault('redirect', location='https://elsewhere.example/')
        reply = self.make()
        self.assertEqual((reply.status, reply.headers['Location']),
                         (302, 'https://elsewhere.example/'))
        self.assertEqual(self.made(), 0)

    def test_replay_mark(self):
        self.fault('idempotency_replay_mark')
        self.assertTrue(self.replayed())
        self.assertEqual(self.made(), 1)

    # Broken connections and bodies.

    def test_reset_before(self):
        self.fault('reset_before')
        with self.assertRaises(ConnectionResetError):
            self.make()
        self.assertEqual(self.made(), 0)
        self.assertIsNone(self.log()[0]['status'])
        self.assertFalse(self.replayed())

    def test_reset_is_an_rst(self):
        self.fault('reset_before')
        with socket.create_connection(('127.0.0.1', self.sandbox.port), 10) as connection:
            connection.sendall(b'GET /v1/account HTTP/1.1\r\nHost: x\r\n\r\n')
            with self.assertRaises(ConnectionResetError):
                connection.recv(1)  # an ordinary close would return nothing

    def test_reset_after(self):
        self.fault('reset_after')
        with self.assertRaises(ConnectionResetError):
            self.make()
        self.assertEqual(self.made(), 1)
        self.assertTrue(self.replayed())

    def test_truncate(self):
        self.fault('truncate')
        with self.assertRaises(http.client.IncompleteRead):
            self.make()
        self.assertTrue(self.replayed())

    def test_invalid_json(self):
        self.fault('invalid_json')
        reply = self.make()
        self.assertEqual(reply.status, 200)
        with self.assertRaises(ValueError):
            json.loads(reply.body)
        self.assertTrue(self.replayed())

    def test_big_body(self):
        self.fault('big_body', bytes=3_000_000)
        reply = self.make()
        self.assertEqual(len(reply.body), 3_000_000)
        self.assertEqual(reply.json['percent_off'], 5)

    def test_gzip_bomb(self):
        self.fault('gzip_bomb', bytes=3_000_000)
        reply = self.make()
        self.assertEqual(reply.headers['Content-Encoding'], 'gzip')
        self.assertLess(len(reply.body), 30_000)
        self.assertEqual(len(gzip.decompress(reply.body)), 3_000_000)
        self.assertTrue(self.replayed())

    def test_other_object(self):
        self.fault('other_object')
        reply = self.make()
        self.assertEqual((reply.status, reply.json['id']), (200, 'other'))
        self.assertTrue(self.replayed())

    # Stalls.

    def test_delay(self):
        replies = []
        self.fault('delay')
        finish = self.in_background(lambda: replies.append(self.make()))
        self.assertEqual(self.made(), 0)
        finish()
        self.assertEqual(replies[0].status, 200)

    def test_delay_for_a_time(self):
        self.fault('delay', seconds=0.05)
        self.assertEqual(self.make().status, 200)
        self.assertGreaterEqual(self.duration_of_last(), 0.05)

    def duration_of_last(self):
        first = self.log()[0]['time']
        self.get('coupons')
        return self.log()[-1]['time'] - first

    def test_stall_on_the_way_back(self):
        replies = []
        self.fault('stall_before_headers', execute=True)
        finish = self.in_background(lambda: replies.append(
            self.make(connection=self.sandbox.connect())))
        self.assertEqual(self.made(), 1)
        self.assertTrue(self.replayed())
        finish()
        self.assertEqual(replies[0].status, 200)

    def test_stall_on_the_way_there(self):
        replies = []
        self.fault('stall_before_headers')
        finish = self.in_background(lambda: replies.append(self.make()))
        self.assertEqual(self.made(), 0)
        finish()
        self.assertEqual(replies[0].status, 200)
        self.assertEqual(self.made(), 1)

    def test_stall_on_the_way_there_of_a_client_that_left(self):
        self.fault('stall_before_headers')
        self.stalled_client_that_leaves()
        self.control('POST', 'faults/release')
        self.assertFalse(self.replayed())
        self.assertEqual(self.made(), 1)

    def test_stall_in_body(self):
        self.fault('stall_in_body')
        connection = self.sandbox.connect()
        connection.request('GET', '/v1/account', headers={
            'Authorization': 'Bearer sk_test_0123456789'})
        response = connection.getresponse()
        half = response.read(100)
        self.assertEqual(len(half), 100)
        connection.sock and connection.sock.settimeout(0.05)
        with self.assertRaises((socket.timeout, TimeoutError)):
            response.read()
        connection.close()
        self.control('POST', 'faults/release')

    def test_reset_of_the_sandbox_drops_stalled_requests(self):
        errors = []

        def lost():
            try:
                self.make()
            except (OSError, http.client.HTTPException) as error:
                errors.append(error)
        self.fault('delay')
        finish = self.in_background(lost)
        self.control('POST', 'reset')
        finish()
        self.assertEqual((len(errors), self.made()), (1, 0))

    # Which requests are hit.

    def test_match_and_times(self):
        self.fault('status', times=2, match={'method': 'POST', 'path': '/v1/coup*',
                                             'contains': 'SALE'})
        params = {'percent_off': 5, 'metadata[a]': 'BIG SALE'}
        self.get('coupons')
        self.post('products', {'name': 'SALE'})
        self.coupon(name='other')
        statuses = [self.request('POST', 'coupons', params).status for _ in range(3)]
        self.assertEqual(statuses, [500, 500, 200])
        self.assertEqual(self.control('GET', 'faults')['faults'][0]['hits'], 2)
        self.assertEqual([entry['fault'] for entry in self.log()],
                         [None, None, None, 'status', 'status', None])

    def test_regex_for_ever_until_cleared(self):
        self.fault('status', times=0, match={'path': r'^/v1/(coupons|products)$'})
        for path in ('coupons', 'products', 'coupons'):
            self.assertEqual(self.request('GET', path).status, 500)
        self.get('prices')
        self.control('DELETE', 'faults')
        self.get('coupons')

    def test_bad_rules(self):
        for rule in ({'fault': 'nope'}, {}, {'fault': 'status', 'statuss': 500},
                     {'fault': 'delay', 'match': {'pth': 'x'}}):
            self.control('POST', 'faults', rule, status=400)
