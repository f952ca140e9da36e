"""The real ovirt-imageio daemons and their control sockets."""

import http.client
import json
import os
import random
import socket

CONFIGURATION = """\
[daemon]
poll_interval = 0.1
max_connections = 8
inactivity_timeout = 60
run_dir = {dir}/run
drop_privileges = false
systemd_enable = false

[tls]
enable = true
key_file = {pki}/host-key.pem
cert_file = {pki}/host.pem
ca_file = {pki}/internal-ca.pem

[remote]
host = {host}
port = {port}

[local]
enable = {local}
socket = {local_socket}

[control]
transport = unix
socket = {dir}/control.sock
remove_timeout = 60

[handlers]
keys = logfile

[logger_root]
level = {level}
handlers = logfile

[handler_logfile]
args = ("{dir}/daemon.log",)
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=70):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """One daemon: `v4` and `v6` play hosts, `proxy` plays the engine's."""

    def __init__(self, lab_dir, name, host, port):
        self.name = name
        self.host = host
        self.port = port
        self.dir = os.path.join(lab_dir, "imageio-" + name)
        self.pki = os.path.join(lab_dir, "pki")

    @property
    def process(self):
        """The name in the records of processes."""
        return "imageio-" + self.name

    def url(self, ticket, port=None):
        """The address of a ticket for clients, optionally through another port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{port or self.port}/images/{ticket}"

    def start(self, processes, venv):
        """Starts the daemon and waits until its control socket answers."""
        for part in ("conf.d", "run"):
            os.makedirs(os.path.join(self.dir, part), exist_ok=True)
        text = CONFIGURATION.format(
            dir=self.dir, pki=self.pki, host=self.host, port=self.port,
            # An abstract name, as on real hosts, of this daemon alone.
            local_socket="\0/org/ovirt/imageio" + self.dir,
            local="false" if self.name == "proxy" else "true",
            level=os.environ.get("OVIRT_LAB_LOG_LEVEL", "INFO"))
        with open(os.path.join(self.dir, "conf.d", "60-lab.conf"), "w", encoding="ascii") as file:
            file.write(text)
        try:
            os.unlink(os.path.join(self.dir, "control.sock"))
        except FileNotFoundError:
            pass
        program = os.path.join(venv, "bin", "ovirt-imageio")
        processes.spawn(self.process, [program, "--conf-dir", self.dir], self.answers)

    def answers(self):
        """Whether the control socket is served."""
        try:
            return self.control("GET", "/tickets/none")[0] == 404
        except OSError:
            return False

    def control(self, method, path, document=None):
        """One request on the control socket: status and decoded body."""
        connection = UnixConnection(os.path.join(self.dir, "control.sock"))
        try:
            body = None if document is None else json.dumps(document).encode()
            connection.request(method, path, body=body)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text.strip()

    def add(self, ticket):
        """Installs a ticket."""
        status, body = self.control("PUT", "/tickets/" + ticket["uuid"], ticket)
        if status != 200:
            raise RuntimeError(f"the daemon refused a ticket: {status} {body}")

    def show(self, uuid):
        """A ticket's state, or None when the daemon does not know it."""
        status, body = self.control("GET", "/tickets/" + uuid)
        return body if status == 200 else None

    def extend(self, uuid, seconds):
        """Renews a ticket."""
        return self.control("PATCH", "/tickets/" + uuid, {"timeout": seconds})[0]

    def remove(self, uuid):
        """Takes a ticket away; True when it is gone."""
        return self.control("DELETE", "/tickets/" + uuid)[0] == 204


def free_port(hosts):
    """A port that is free on all of `hosts`, and below those that the kernel gives to clients: one
    of them would take it before it is served."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        lowest = int(file.read().split()[0])
    choice = range(min(10000, lowest - 1), lowest) if lowest > 2048 else range(2048, 65536)
    for _ in range(50):
        port = random.choice(choice)
        if all(port_is_free(host, port) for host in hosts):
            return port
    raise RuntimeError("no free port")


def port_is_free(host, port):
    """Whether one could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return True
        except OSError:
            return False


def has_ipv6():
    """Whether ::1 exists here."""
    try:
        return port_is_free("::1", 0)
    except OSError:
        return False
