#!/usr/bin/env python3
"""A stateful stand-in for Stripe, on this machine and in memory. See README.md."""
from __future__ import annotations

import argparse
import os
import signal
import ssl
import threading

from config import DEFAULT_VERSION
from record import Record
from server import Server
from world import World


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--port', type=int, default=0, help='0 (the default): any free port')
    parser.add_argument('--tls', nargs=2, metavar=('CERT', 'KEY'), help='PEM files: serve https')
    parser.add_argument('--api-version', default=DEFAULT_VERSION,
                        help="the account's default version (%(default)s)")
    parser.add_argument('--record', metavar='FILE', default=os.environ.get('STRIPE_SANDBOX_RECORD'),
                        help='append what is asked and answered ($STRIPE_SANDBOX_RECORD)')
    options = parser.parse_args()

    # Blocked in every thread and waited for below: no handler can run at a wrong moment.
    signals = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2  # as Stripe (section 1)
        tls.load_cert_chain(*options.tls)
    record = Record(options.record) if options.record else None
    server = Server(options.port, World(options.api_version), tls, record)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scheme = 'https' if tls else 'http'
    print(f'stripe sandbox listening on {scheme}://127.0.0.1:{server.server_port}', flush=True)
    signal.sigwait(signals)


if __name__ == '__main__':
    main()
