"""The rest of /_sandbox/, and the process itself."""
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

from harness import KEY, Sandbox, SandboxTest


class ControlTest(SandboxTest):
    def test_request_log(self):
        before = time.time()
        self.request('POST', 'coupons', {'percent_off': 5, 'metadata[a]': 'ä b'}, headers={
            'Idempotency-Key': 'k', 'Stripe-Version': '2026-09-30.endive', 'User-Agent': 'me'})
        self.get('coupons', {'expand[]': 'data.applies_to'})
        self.request('GET', 'coupons/none')
        first, second, third = self.log()
        self.assertTrue(before - 1 <= first.pop('time') <= time.time() + 1)
        seq = first.pop('seq')
        self.assertRegex(first.pop('request_id'), '^req_')
        self.assertEqual(first, {
            'method': 'POST', 'path': '/v1/coupons', 'idempotency_key': 'k',
            'params': {'percent_off': '5', 'metadata[a]': 'ä b'}, 'user_agent': 'me',
            'stripe_version': '2026-09-30.endive', 'status': 200, 'replayed': False,
            'fault': None})
        self.assertEqual(second['params'], {'expand[0]': 'data.applies_to'})
        self.assertEqual(third['status'], 404)
        self.assertEqual(self.log(f'?since={seq}'), [second, third])
        self.assertEqual(self.log('?method=GET&path=/v1/coupons'), [second])
        self.assertEqual(self.log('?path=/v1/coupons/*'), [third])
        self.control('DELETE', 'requests')
        self.assertEqual(self.log(), [])
        self.get('coupons')
        self.assertGreater(self.log()[0]['seq'], third['seq'])

    def test_state_shows_hidden_fields(self):
        product = self.post('products', {'name': 'P'})['id']
        self.coupon(**{'id': 'C', 'applies_to[products][]': product})
        self.code('C', code='X')
        state = self.control('GET', 'state')
        self.assertEqual(state['coupons'][0]['applies_to'], {'products': [product]})
        self.assertEqual(state['promotion_codes'][0]['promotion']['coupon'], 'C')
        self.assertEqual(len(state['events']), 3)
        self.assertEqual(set(self.control('GET', 'state?object=prices')), {'prices'})
        self.control('GET', 'state?object=nope', status=400)

    def test_clock(self):
        self.assertAlmostEqual(self.control('GET', 'clock')['now'], time.time(), delta=5)
        moved = self.control('POST', 'clock', {'set': 1900000000})['now']
        self.assertAlmostEqual(moved, 1900000000, delta=5)
        self.assertAlmostEqual(self.coupon()['created'], 1900000000, delta=5)
        self.assertAlmostEqual(self.control('POST', 'clock', {'advance': 100})['now'],
                               1900000100, delta=5)

    def test_reset(self):
        self.coupon(id='C')
        self.advance(1000)
        self.config(forever_amount_off='refuse')
        self.fault('status', times=0)
        self.control('POST', 'keys', {'key': KEY, 'revoked': True})
        self.control('POST', 'reset')
        self.assertEqual(self.control('GET', 'state')['coupons'], [])
        self.assertEqual(self.control('GET', 'config')['forever_amount_off'], 'allow')
        self.assertAlmostEqual(self.now(), time.time(), delta=5)
        self.get('coupons')

    def test_refusals(self):
        self.control('POST', 'config', {'nope': 1}, status=400)
        self.control('POST', 'config', {'forever_amount_off': 'maybe'}, status=400)
        self.control('POST', 'config', {'api_version': 'x'}, status=400)
        self.control('POST', 'keys', {}, status=400)
        self.control('GET', 'nope', status=404)


class ConcurrencyTest(SandboxTest):
    def test_parallel_creates_of_one_code_make_one(self):
        self.coupon(id='C')
        statuses = []

        def create():
            connection = self.sandbox.connect()
            reply = self.request('POST', 'promotion_codes', {
                'promotion[type]': 'coupon', 'promotion[coupon]': 'C', 'code': 'ONE'},
                connection=connection)
            statuses.append(reply.status)
            connection.close()
        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(statuses), [200] + [400] * 7)

    def test_more_than_500_requests_a_second(self):
        started = time.monotonic()
        for _ in range(500):
            self.get('coupons')
        self.assertLess(time.monotonic() - started, 1)


class ProcessTest(unittest.TestCase):
    def test_first_line_and_clean_end(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            sandbox = Sandbox('--api-version', '2025-08-27.basil')
            self.addCleanup(sandbox.process.kill)
            self.assertRegex(sandbox.banner,
                             r'^stripe sandbox listening on http://127\.0\.0\.1:\d+\n$')
            idle = sandbox.connect()
            idle.connect()  # an open connection does not hold it
            reply = sandbox.request('GET', '/v1/account')
            self.assertEqual(reply.headers['Stripe-Version'], '2025-08-27.basil')
            sandbox.process.send_signal(number)
            self.assertEqual(sandbox.stop(number), 0)  # a second signal does not matter
            idle.close()

    @unittest.skipUnless(shutil.which('openssl'), 'openssl makes the certificate')
    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = (os.path.join(folder, name) for name in ('cert.pem', 'key.pem'))
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                            'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-out', cert,
                            '-keyout', key, '-subj', '/CN=localhost', '-addext',
                            'subjectAltName=IP:127.0.0.1'], check=True, capture_output=True)
            sandbox = Sandbox('--tls', cert, key)
            self.addCleanup(sandbox.process.kill)
            self.assertIn('https://', sandbox.banner)
            silent = sandbox.connect()
            silent.connect()  # never shakes hands, and holds nobody up
            request = urllib.request.Request(
                f'https://127.0.0.1:{sandbox.port}/v1/account',
                headers={'Authorization': f'Bearer {KEY}'})
            with urllib.request.urlopen(
                    request, context=ssl.create_default_context(cafile=cert)) as reply:
                self.assertEqual(reply.status, 200)
            silent.close()
            sandbox.stop()
