"""A bad network between clients and a daemon: cuts, stalls and slows TLS connections without
looking into them."""

import socket
import threading
import time

CHUNK = 65536


class Relay:
    """Listens on a port of its own and passes everything on to `target`."""

    def __init__(self, target):
        self.target = target
        self.lock = threading.Lock()
        self.rules = {}
        self.left = 0
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def order(self, count, rules):
        """The next `count` connections suffer from `rules`."""
        with self.lock:
            self.left, self.rules = count, rules

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            with self.lock:
                self.connections += 1
                rules = self.rules if self.left > 0 else {}
                self.left -= 1
            threading.Thread(target=self._serve, args=(client, rules), daemon=True).start()

    def _serve(self, client, rules):
        if rules.get("refuse"):
            client.close()
            return
        try:
            server = socket.create_connection(self.target, timeout=30)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        threading.Thread(target=_pump, args=(client, server, {}), daemon=True).start()
        _pump(server, client, rules)


def _pump(source, sink, rules):
    """Moves bytes until an end, or until a rule says otherwise."""
    moved = 0
    try:
        while data := source.recv(CHUNK):
            time.sleep(rules.get("delay", 0))
            limit = rules.get("cut_after", rules.get("stall_after"))
            if limit is not None and moved + len(data) >= limit:
                sink.sendall(data[:max(0, limit - moved)])
                if "stall_after" in rules:
                    time.sleep(rules.get("stall_seconds", 3600))
                break
            sink.sendall(data)
            moved += len(data)
    except OSError:
        pass  # one end is gone; so is the other, now
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()
