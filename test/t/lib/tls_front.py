#!/usr/bin/env python3
"""tls_front.py CERT KEY PORT BACKEND: TLS at 127.0.0.1:PORT (0: any), its bytes passed on to BACKEND.

Says the port once it listens. What a test puts before the sandbox to have a certificate of its own.
"""
import select
import socket
import ssl
import sys
import threading


def pass_on(front: ssl.SSLSocket, backend: int) -> None:
    try:
        front.do_handshake()
        with socket.create_connection(('127.0.0.1', backend)) as back:
            while True:
                if front.pending() or front in select.select([front, back], [], [])[0]:
                    data, to = front.recv(65536), back
                else:
                    data, to = back.recv(65536), front
                if not data:
                    return
                to.sendall(data)
    except OSError:  # of the client's or the handshake's; tests look at what the client says
        pass
    finally:
        front.close()


def main() -> None:
    certificate, key, port, backend = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with socket.create_server(('127.0.0.1', int(port))) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            front = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=pass_on, args=(front, int(backend)), daemon=True).start()


if __name__ == '__main__':
    main()
