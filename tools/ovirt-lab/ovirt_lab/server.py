"""The engine's web server: HTTPS, tokens, XML and JSON, faults."""

import base64
import gzip
import json
import re
import socket
import ssl
import threading
import time
import traceback
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import changing, reading, wire
from .faults import Fault, Missing

API = "/ovirt-engine/api"
UUID_PARENTS = {"vms", "disks", "imagetransfers", "backups", "checkpoints", "snapshots"}
HTML = "<html><head><title>Error</title></head><body>{}</body></html>"
PKI = {"ca-certificate": "internal-ca.pem", "qemu-ca-certificate": "internal-ca.pem",
       "engine-certificate": "engine.pem"}


class Server(ThreadingHTTPServer):
    """One listening address; the TLS handshake happens in the connection's own thread."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address, handler, engine, context=None):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.engine = engine
        self.context = context
        super().__init__(address, handler)

    def handle_error(self, request, client_address):
        """Broken connections are the clients' business."""

    def serve(self):
        """Serves in the background."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1},
                         daemon=True).start()


def tls_context(pki):
    """The engine's own certificate, below the API's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pki}/engine.pem", f"{pki}/engine-key.pem")
    return context


class Handler(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "Apache"
    sys_version = ""
    timeout = 120

    def setup(self):
        if self.server.context is not None:
            self.request.settimeout(10)
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def log_message(self, format, *args):  # noqa: A002  the base class's name
        """The engine keeps its own record of requests."""

    @property
    def engine(self):
        """The engine behind this server."""
        return self.server.engine

    # Every request -----------------------------------------------------------------------------

    def _serve(self):
        self.answered = None
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        path = url.path
        while ";" in path:  # matrix parameters
            path, _, parameter = path.rpartition(";")
            key, _, value = parameter.partition("=")
            self.query.setdefault(key, urllib.parse.unquote(value))
        try:
            if not self._misbehave(path):
                self._route(urllib.parse.unquote(path))
        finally:
            self._record()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def _record(self):
        api = self.path.startswith(API)
        body = "" if "/sso/" in self.path else self.body[:8192].decode("utf-8", "replace")
        with self.engine.lock:
            self.engine.requests.append({
                "time": time.time(), "method": self.command, "path": self.path,
                "status": self.answered, "body": body,
                "changing": api and self.command not in ("GET", "HEAD", "OPTIONS"),
                "user_agent": self.headers.get("User-Agent"),
                "accept": self.headers.get("Accept"),
                "correlation_id": self.headers.get("Correlation-Id")})

    def _misbehave(self, path):
        """Faults that were ordered for the next requests; True when the request ends here."""
        with self.engine.lock:
            found = None
            for fault in self.engine.http_faults:
                if re.fullmatch(fault.get("method", ".*"), self.command) \
                        and re.search(fault.get("path", ""), path):
                    found = fault
                    break
            if found is None:
                return False
            if found.get("skip", 0) > 0:
                found["skip"] -= 1
                return False
            found["count"] = found.get("count", 1) - 1
            if found["count"] <= 0:
                self.engine.http_faults.remove(found)
        time.sleep(found.get("delay", 0))
        if found.get("after"):
            self.muted = True
            self._route(urllib.parse.unquote(path))
            self.muted = False
        if found.get("reset"):
            self.close_connection = True
            self.answered = "reset"
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return True
        if "status" not in found:
            return bool(found.get("after"))
        if "detail" in found:
            self._fault(Fault(found["status"], found["detail"],
                              found.get("reason", "Operation Failed")))
        else:
            body = found.get("body", HTML.format(f"{found['status']} (told to)"))
            self._send(found["status"], body.encode(), found.get("content_type", "text/html"))
        return True

    muted = False

    def _send(self, status, body=b"", content_type=None, headers=None):
        if self.muted:
            return
        self.answered = status
        self.send_response(status)
        if self.headers.get("Correlation-Id"):
            cleaned = re.sub(r"[^0-9A-Za-z_-]", "", self.headers["Correlation-Id"])[:36]
            self.send_header("Correlation-Id", cleaned)
        elif self.path.startswith(API):
            self.send_header("Correlation-Id", str(uuid.uuid4()))
        if content_type and body:
            self.send_header("Content-Type", content_type)
        if len(body) > 512 and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Vary", "Accept-Encoding")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # Paths -------------------------------------------------------------------------------------

    def _route(self, path):
        if path == "/ovirt-engine/sso/oauth/token" and self.command == "POST":
            return self._token()
        if path == "/ovirt-engine/services/sso-logout" and self.command == "POST":
            form = self._form()
            with self.engine.lock:
                self.engine.state["tokens"].pop(form.get("token"), None)
            return self._send(200, b"{}", "application/json")
        if path == "/ovirt-engine/services/pki-resource":
            return self._pki()
        versioned = re.sub(r"^/ovirt-engine/api/v4(?=/|$)", API, path)
        if versioned == API or versioned.startswith(API + "/"):
            return self._api([part for part in versioned[len(API):].split("/") if part])
        return self._send(404, HTML.format("Not Found").encode(), "text/html")

    def _form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode("utf-8", "replace")))

    def _token(self):
        def refuse(code, text):
            self._send(400, json.dumps({"error_code": code, "error": text}).encode(),
                       "application/json;charset=UTF-8")
        if self.headers.get("Accept") != "application/json":
            return refuse("invalid_request", "Missing or invalid Accept header")
        form = self._form()
        if form.get("grant_type") != "password":
            return refuse("unsupported_grant_type", "Unsupported grant type")
        if form.get("scope") != "ovirt-app-api":
            return refuse("invalid_scope", "Invalid scope")
        settings = self.engine.settings
        if (form.get("username"), form.get("password")) != (settings["user"],
                                                            settings["password"]):
            return refuse("access_denied", "Cannot authenticate user "
                          f"'{form.get('username')}': The user name or password is incorrect..")
        answer = {"access_token": self.engine.new_token(), "scope": "ovirt-app-api",
                  "exp": "9223372036854775807", "token_type": "bearer"}
        return self._send(200, json.dumps(answer).encode(), "application/json;charset=UTF-8")

    def _pki(self):
        resource = self.query.get("resource")
        if resource not in PKI or self.query.get("format", "X509-PEM-CA") not in (
                "X509-PEM", "X509-PEM-CA"):
            return self._send(400, HTML.format("Bad resource").encode(), "text/html")
        with open(self.engine.path("pki", PKI[resource]), "rb") as file:
            return self._send(200, file.read(), "application/x-x509-ca-cert")

    def _authorized(self):
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer":
            return self.engine.use_token(value.strip())
        if kind == "Basic":
            settings = self.engine.settings
            try:
                given = base64.b64decode(value).decode()
            except ValueError:
                return False
            return given == f"{settings['user']}:{settings['password']}"
        return False

    def _api(self, parts):
        if not self._authorized():
            return self._send(401, HTML.format("Unauthorized").encode(), "text/html;charset=UTF-8",
                              {"WWW-Authenticate": 'Basic realm="RESTAPI"'})
        if self.headers.get("Version", "4") != "4":
            return self._send(400, HTML.format("Bad Request").encode(), "text/html;charset=UTF-8")
        if self.headers.get("All-Content"):
            self.query["all_content"] = self.headers["All-Content"]
        try:
            status, tag, value = self._answer(parts)
        except Missing:
            return self._send(404)
        except wire.BadDocument as error:
            return self._fault(Fault(400, f"[{error}]", "Request syntactically incorrect."))
        except Fault as fault:
            return self._fault(fault)
        except Exception:  # a bug of the lab must look like one
            traceback.print_exc()
            return self._fault(Fault(500, "[Internal Engine Error]"))
        if isinstance(value, bytes):
            return self._send(status, value, "application/xml;charset=UTF-8")
        headers = {"Location": value["href"]} if status in (201, 202) and "href" in value else {}
        if not parts:
            headers["Link"] = ", ".join(f"<{API}/{rel}>; rel={rel}" for rel in (
                "vms", "disks", "hosts", "clusters", "storagedomains", "events"))
        return self._document(status, tag, value, headers)

    def _answer(self, parts):
        for parent, identifier in zip(parts, parts[1:]):
            if parent in UUID_PARENTS and not _is_uuid(identifier) \
                    and identifier not in changing.ACTIONS:
                raise Fault(400, f"[Invalid UUID string: {identifier}]", "Operation failed")
        with self.engine.lock:
            if self.command in ("GET", "HEAD"):
                if not parts and "schema" in self.query:
                    return 200, None, reading.schema(self.engine).encode()
                return (200, *reading.read(self.engine, parts, self.query))
            if self.command not in ("POST", "PUT", "DELETE"):
                raise Fault(405, "[Method Not Allowed]")
            tag = changing.body_tag(self.command, parts)
            body = None
            if self.body and tag:
                body = wire.parse(self.body.decode("utf-8"),
                                  self.headers.get("Content-Type", ""), tag)
            answer = changing.change(self.engine, self.command, parts, self.query, body)
            self.engine.save()
            return answer

    def _fault(self, fault):
        self._document(fault.status, "fault", {"detail": fault.detail, "reason": fault.reason}, {})

    def _document(self, status, tag, value, headers):
        tree = wire.render(tag, value)
        if self.engine.config["extra_members"]:
            tree.append(wire.to_tree("member_of_a_later_version", {"value": "1"}))
        if "json" in self.headers.get("Accept", ""):
            return self._send(status, wire.json_bytes(tree), "application/json", headers)
        return self._send(status, wire.xml_bytes(tree), "application/xml;charset=UTF-8", headers)


def _is_uuid(text):
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
