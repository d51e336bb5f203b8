"""A proxy before an S3 server that sees each request: it counts them, and can hold one back."""

import re
import socket
import threading
from collections import Counter

import peers

# Clients wait for an answer before they send the next request on a connection, so that each begins a piece of its own.
REQUEST = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) (/\S*) HTTP/1\.1\r\n")


class Proxy:
    """Stands before a `server` (of peers.py), with its keys."""

    def __init__(self, server):
        self.key, self.secret, self.env, self.to = server.key, server.secret, server.env, server.port
        self.lock, self.seen = threading.Lock(), Counter()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                client.close()          # the server has ended
                continue
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source, sink, requests):
        try:
            while data := source.recv(1 << 16):
                if requests and (found := REQUEST.match(data)):
                    self.request(found[1].decode(), found[2].decode())
                sink.sendall(data)
        except OSError:
            pass            # the other side has gone
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def request(self, method, target):
        """Called before a request goes on."""
        with self.lock:
            self.seen[method, target.split("?")[0]] += 1

    def count(self):
        """The requests since the last call: all, and those that stored or removed something below `/bucket/p/`."""
        with self.lock:
            seen, self.seen = self.seen, Counter()
        return seen.total(), sum(count for (method, path), count in seen.items() if method in ("PUT", "POST", "DELETE") and path.startswith("/bucket/p/"))


class Gate(Proxy):
    """Holds back the second read of an object below `/bucket/p/` until it is told to let it pass."""

    def __init__(self, server):
        self.reads, self.held, self.free = 0, threading.Event(), threading.Event()
        super().__init__(server)

    def request(self, method, target):
        super().request(method, target)
        if method != "GET" or not target.startswith("/bucket/p/"):
            return
        with self.lock:
            self.reads += 1
            second = self.reads == 2
        if second:
            self.held.set()
            assert self.free.wait(peers.TIMEOUT), "nobody let the request pass"
