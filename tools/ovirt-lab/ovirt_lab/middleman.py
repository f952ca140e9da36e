"""Stands between clients and a daemon with the daemon's own certificate: records what crosses the
wire for each ticket, and spoils answers as it was told to."""

import os
import re
import socket
import ssl
import struct
import threading
import time

CHUNK = 65536
LONGEST_HEAD = 65536


class Gone(Exception):
    """A connection that ends here."""


class Middleman:
    """Listens on a port of its own in front of `target`. As seen from another machine: answers
    name no unix socket."""

    def __init__(self, target, pki):
        self.target = target
        self.lock = threading.Lock()
        self.requests = []
        self.orders = []
        self.connections = 0
        self.old = False
        self.pki = pki
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def order(self, **order):
        """Trouble for the next `count` requests that match; see `fail-transfers`."""
        known = {"method", "path", "skip", "count", "status", "cut", "reset", "stall", "seconds",
                 "corrupt", "delay", "sent"}
        if unknown := set(order) - known:
            raise ValueError(f"unknown orders {sorted(unknown)}")
        with self.lock:
            self.orders.append(order)

    def clear(self):
        """Takes back all orders and forgets all records."""
        with self.lock:
            self.orders.clear()
            self.requests.clear()
            self.connections = 0
            self.old = False

    def totals(self):
        """Bytes by ticket: heads and bodies, both ways."""
        with self.lock:
            found = {}
            for one in self.requests:
                sums = found.setdefault(one["ticket"], {"requests": 0, "sent": 0, "received": 0})
                sums["requests"] += 1
                sums["sent"] += one["sent"]
                sums["received"] += one["received"]
            return found

    def _accept(self):
        while True:
            raw, _ = self.listener.accept()
            with self.lock:
                self.connections += 1
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Read anew for each connection: authorities are renewed.
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(os.path.join(self.pki, "host.pem"),
                             os.path.join(self.pki, "host-key.pem"))
        theirs = ssl.create_default_context(cafile=os.path.join(self.pki, "internal-ca.pem"))
        client = server = None
        try:
            client = ours.wrap_socket(raw, server_side=True)
            server = theirs.wrap_socket(socket.create_connection(self.target, timeout=60),
                                        server_hostname=self.target[0])
            server.settimeout(None)
            self._talk(_Stream(client), _Stream(server))
        except (OSError, Gone):
            pass  # one end is gone; so is the other, now
        finally:
            for one in (client or raw, server):
                if one is not None:
                    one.close()

    def _talk(self, client, server):
        while True:
            head = client.head()
            method, path = head.split(b" ", 2)[:2]
            record = {"ticket": path.decode("latin1").removeprefix("/images/").split("/")[0]
                      .split("?")[0], "method": method.decode("latin1"),
                      "path": path.decode("latin1"), "range": _header(head, "range"),
                      "content_range": _header(head, "content-range"), "status": None,
                      "sent": len(head), "received": 0, "began": time.time()}
            with self.lock:
                self.requests.append(record)
            self._pass_on(client, server, head, record)
            if (_header(head, "connection") or "").lower() == "close":
                raise Gone

    def _pass_on(self, client, server, head, record):
        order = self._find(record)
        length = int(_header(head, "content-length") or 0)
        if "status" in order:
            client.copy(length, None, record, "sent")
            return _refuse(client, order["status"], record)
        if self.old and record["path"].partition("?")[0].endswith("/extents"):
            return _refuse(client, 404, record)
        server.send(head)
        of_request = order.get("sent", False)
        client.copy(length, server, record, "sent", order if of_request else None)
        answer = server.head()
        length = int(_header(answer, "content-length") or 0)
        record["status"] = int(answer.split(b" ", 2)[1])
        if record["method"] == "OPTIONS" and length:
            answer, body = _without_socket(answer, server.take(length))
            client.send(answer + body)
            record["received"] += len(answer) + len(body)
        else:
            client.send(answer)
            record["received"] += len(answer)
            server.copy(length, client, record, "received", None if of_request else order)
        if (_header(answer, "connection") or "").lower() == "close":
            raise Gone
        return None

    def _find(self, record):
        with self.lock:
            for order in self.orders:
                if not re.fullmatch(order.get("method", ".*"), record["method"]) \
                        or not re.search(order.get("path", ""), record["path"]):
                    continue
                if order.get("skip", 0) > 0:
                    order["skip"] -= 1
                    continue
                order["count"] = order.get("count", 1) - 1
                if order["count"] <= 0:
                    self.orders.remove(order)
                return order
        return {}


class _Stream:
    """One TLS connection, with what was read ahead."""

    def __init__(self, connection):
        self.connection = connection
        self.ahead = b""

    def send(self, data):
        self.connection.sendall(data)

    def _receive(self, most):
        if self.ahead:
            data, self.ahead = self.ahead[:most], self.ahead[most:]
            return data
        return self.connection.recv(min(most, CHUNK))

    def head(self):
        """All lines up to the empty one."""
        while b"\r\n\r\n" not in self.ahead:
            data = self.connection.recv(CHUNK)
            if not data or len(self.ahead) > LONGEST_HEAD:
                raise Gone
            self.ahead += data
        head, _, self.ahead = self.ahead.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def take(self, length):
        """Exactly so many bytes."""
        parts = b""
        while len(parts) < length:
            data = self._receive(length - len(parts))
            if not data:
                raise Gone
            parts += data
        return parts

    def copy(self, length, sink, record, member, order=None):
        """Moves a body to `sink`, spoilt as ordered."""
        order, moved = order or {}, 0
        limits = [order[name] for name in ("cut", "reset", "stall") if name in order]
        while moved < length:
            most = min([length - moved] + [one - moved for one in limits if one > moved])
            data = self._receive(most)
            if not data:
                raise Gone
            place = order.get("corrupt", -1) - moved
            if 0 <= place < len(data):
                data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]
            if sink is not None:
                sink.send(data)
            record[member] += len(data)
            moved += len(data)
            time.sleep(order.get("delay", 0))
            if moved in limits:
                _spoil(sink.connection, order, moved)
                limits = []


def _spoil(connection, order, moved):
    if order.get("stall") == moved:
        time.sleep(order.get("seconds", 3600))
    elif order.get("reset") == moved:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone
    else:  # a clean end, as TLS knows it
        connection.settimeout(5)
        connection.unwrap().close()
        raise Gone


def _refuse(client, status, record):
    body = b"told to\n"
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: text/plain; charset=UTF-8\r\n" \
           f"Content-Length: {len(body)}\r\n\r\n".encode()
    client.send(head + body)
    record["status"] = status
    record["received"] += len(head) + len(body)


def _header(head, name):
    found = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*(.*?)[ \t]*\r$", head)
    return found and found.group(1).decode("latin1")


def _without_socket(head, body):
    body = re.sub(rb'"unix_socket": *"[^"]*", *', b"", body)
    body = re.sub(rb', *"unix_socket": *"[^"]*"', b"", body)
    return re.sub(rb"(?i)content-length: *\d+", b"content-length: %d" % len(body), head), body
