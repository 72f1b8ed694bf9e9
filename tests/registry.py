# SPDX-License-Identifier: Apache-2.0
"""registry.py - registries for tests: Debian's docker-registry on loopback, and a proxy before it that does what networks do

A Registry is a real process, plain or with TLS, with or without a login. A Proxy passes requests on to it (or answers by itself),
remembers them, and breaks what a rule tells it to break. Everything waits on events: the registry's line that it listens, the
proxy's arrivals and releases.
"""
import base64
import contextlib
import dataclasses
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import urllib.parse
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import crypt  # Debian 12 has it, and with it bcrypt

MANIFEST_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
                  "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json")


def certificates(folder):
    """A certificate authority and a certificate of it for 127.0.0.1. Return: (ca, certificate, key)"""
    folder = pathlib.Path(folder)
    ca, key, certificate, request = (folder / name for name in ("ca.pem", "key.pem", "cert.pem", "request.pem"))

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", folder / "ca-key.pem", "-out", ca, "-days", 30, "-subj", "/CN=test authority")
    openssl("req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", folder / "ca-key.pem", "-CAcreateserial", "-out", certificate,
            "-days", 30, "-extfile", folder / "ext")
    return ca, certificate, key


class Registry:
    """A docker-registry of its own; close() must be called."""

    def __init__(self, folder, login=None, tls=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.login = login
        self.tls = tls
        settings = {"version": 0.1, "log": {"level": "info", "accesslog": {"disabled": True}},
                    "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
                    "http": {"addr": "127.0.0.1:0", "secret": "of tests"}}
        if login:
            hashed = crypt.crypt(login[1], "$2b$04$abcdefghijklmnopqrstuu")
            (self.folder / "htpasswd").write_text(f"{login[0]}:{hashed}\n")
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.folder / "htpasswd")}}
        if tls:
            settings["http"]["tls"] = {"certificate": str(tls[1]), "key": str(tls[2])}
        (self.folder / "config.yml").write_text(json.dumps(settings))
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(["docker-registry", "serve", str(self.folder / "config.yml")], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"]})
        for line in self.process.stderr:
            self.log.write(line)
            found = re.search(rb"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                break
        else:
            raise AssertionError("docker-registry did not start: " + (self.folder / "log").read_text(errors="replace"))
        self.port = int(found[1])
        self.host = f"127.0.0.1:{self.port}"
        # Its pipe must not fill up.
        self.drain = threading.Thread(target=shutil.copyfileobj, args=(self.process.stderr, self.log), daemon=True)
        self.drain.start()

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=ssl.create_default_context(cafile=self.tls[0]))
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(self, method, path, body=b"", headers=None, expect=(200, 201, 202)):
        headers = dict(headers or {})
        if self.login:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.login).encode()).decode()
        connection = self.connect()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status in expect, (method, path, answer.status, content[:300])
        return answer, content

    def push_blob(self, repository, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        answer, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        place = urllib.parse.urlsplit(answer.headers["Location"])
        self.request("PUT", f"{place.path}?{place.query}&digest={digest}", content, {"Content-Type": "application/octet-stream"})
        return digest

    def push_manifest(self, repository, reference, content, media_type):
        self.request("PUT", f"/v2/{repository}/manifests/{reference}", content, {"Content-Type": media_type})

    def push(self, layout, repository, tag="latest"):
        """Puts the images of an oci.Layout there: one as a manifest, several as an index. Return: digest of what the tag means"""
        def blob(digest):
            return layout.files["blobs/" + digest.replace(":", "/")]

        for descriptor in layout.manifests:
            manifest = json.loads(blob(descriptor["digest"]))
            for part in [manifest["config"], *manifest["layers"]]:
                self.push_blob(repository, blob(part["digest"]))
            self.push_manifest(repository, descriptor["digest"], blob(descriptor["digest"]), descriptor["mediaType"])
        if len(layout.manifests) == 1:
            content, media_type = blob(layout.manifests[0]["digest"]), layout.manifests[0]["mediaType"]
        else:
            content, media_type = layout.finished()["index.json"], "application/vnd.oci.image.index.v1+json"
        self.push_manifest(repository, tag, content, media_type)
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.drain.join()
        self.process.stderr.close()
        self.log.close()


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: dict


class Rule:
    """
    What is to happen to requests whose path matches. It holds for `times` requests.

    act(proxy, handler, fetch): answers; fetch() gets the registry's (status, headers, content)
    """

    def __init__(self, pattern, act, times=1):
        self.pattern, self.act, self.times = re.compile(pattern), act, times


class Proxy:
    """A server that passes on what no rule catches. target: a Registry, or None: then what no rule catches is 404."""

    def __init__(self, target=None, tls=None):
        self.target = target
        self.rules = []
        self.requests = []
        self.changed = threading.Condition()
        self.ending = threading.Event()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                proxy.serve(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64  # a full one drops a connection's first packet, which comes again only a second later

            def handle_error(self, *_):
                pass  # clients that go away are what these tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls[1], tls[2])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.ending.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def rule(self, pattern, act, times=1):
        with self.changed:
            self.rules.append(Rule(pattern, act, times))

    def serve(self, handler):
        path = handler.path
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        handler.form = body
        with self.changed:
            self.requests.append(Request(handler.command, path, dict(handler.headers)))
            self.changed.notify_all()
            rule = next((rule for rule in self.rules if rule.times > 0 and rule.pattern.search(path)), None)
            if rule:
                rule.times -= 1

        def fetch(keep_range=True):
            headers = {name: handler.headers[name] for name in ("Accept", "Authorization", "Range")
                       if name in handler.headers and (keep_range or name != "Range")}
            if "Accept" in headers:
                headers["Accept"] = ", ".join(handler.headers.get_all("Accept"))
            if self.target is None:
                return 404, {}, b'{"errors":[{"code":"NAME_UNKNOWN","message":"nothing here"}]}'
            connection = self.target.connect()
            connection.request(handler.command, path, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            kept = {name: answer.headers[name] for name in ("Content-Type", "Docker-Content-Digest", "Content-Range", "WWW-Authenticate",
                                                            "Location") if name in answer.headers}
            return answer.status, kept, content

        if rule:
            rule.act(self, handler, fetch)
        else:
            answer(handler, *fetch())

    def got(self, pattern):
        """Requests so far whose path matches."""
        with self.changed:
            return [request for request in self.requests if re.search(pattern, request.path)]

    def wait_for(self, pattern, count=1):
        """Waits until so many requests came."""
        with self.changed:
            met = self.changed.wait_for(lambda: len([r for r in self.requests if re.search(pattern, r.path)]) >= count, 120)
        assert met, f"no {count} requests for {pattern}: {[request.path for request in self.requests]}"


class Tunnels:
    """A proxy for what is encrypted: CONNECT, and nothing else; wherever it is asked to, it connects to one port of this machine."""

    def __init__(self, port, login=None):
        self.asked = []  # (method and place, Proxy-Authorization)
        tunnels = self
        expected = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else None

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self):
                tunnels.asked.append((f"CONNECT {self.path}", self.headers.get("Proxy-Authorization")))
                if expected and self.headers.get("Proxy-Authorization") != expected:
                    self.send_error(407)
                    return
                with socket.create_connection(("127.0.0.1", port)) as server:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=pump, args=(server, self.connection), daemon=True)
                    back.start()
                    pump(self.connection, server)
                    back.join()

            def do_GET(self):
                tunnels.asked.append((f"GET {self.path}", None))
                self.send_error(404)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextlib.contextmanager
def nobody():
    """The address of a registry that is not there: its port is taken, so that nobody else gets it, and nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def pump(source, target):
    """Bytes from one socket to another until the end, which is passed on."""
    with contextlib.suppress(OSError):
        while got := source.recv(65536):
            target.sendall(got)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def answer(handler, status, headers, content):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if "Content-Length" not in headers:
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


# What a rule can do.


def says(status, headers=None, content=b""):
    """A fixed answer."""
    return lambda proxy, handler, fetch: answer(handler, status, headers or {}, content)


def redirect(where, status=307):
    """where: a function of the path"""
    return lambda proxy, handler, fetch: answer(handler, status, {"Location": where(handler.path)}, b"")


def changed(change):
    """change: a function of the content"""
    def act(proxy, handler, fetch):
        status, headers, content = fetch()
        answer(handler, status, headers, change(content))
    return act


def corrupt(content):
    """One byte in the middle is another."""
    return content[:len(content) // 2] + bytes([content[len(content) // 2] ^ 0x55]) + content[len(content) // 2 + 1:]


def cut(after):
    """The connection ends in the middle of the body."""
    def act(proxy, handler, fetch):
        status, headers, content = fetch()
        handler.close_connection = True
        answer(handler, status, {**headers, "Content-Length": str(len(content))}, content[:after])
    return act


def whole(proxy, handler, fetch):
    """The server knows no Range."""
    status, headers, content = fetch(keep_range=False)
    answer(handler, status, headers, content)


def stuck(after, release):
    """So many bytes of the body, then nothing until the event; then the rest."""
    def act(proxy, handler, fetch):
        status, headers, content = fetch()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        while not release.wait(0.05) and not proxy.ending.is_set():
            pass
        handler.wfile.write(content[after:])
    return act


class TokenService:
    """
    Bearer tokens for a Proxy: everything below /v2/ wants one, and /token gives it.

    login: the user and password that get one; None: anybody
    """

    def __init__(self, proxy, login=None):
        self.proxy, self.login = proxy, login
        self.given = 0
        self.valid = set()
        proxy.rule(r"^/token", self.token, 1000)
        proxy.rule(r"^/v2/", self.guard, 100000)

    def token(self, proxy, handler, fetch):
        if self.login:
            expected = "Basic " + base64.b64encode(":".join(self.login).encode()).decode()
            if handler.headers.get("Authorization") != expected:
                answer(handler, 401, {}, b'{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}')
                return
        self.given += 1
        token = f"token-{self.given}"
        self.valid.add(token)
        answer(handler, 200, {"Content-Type": "application/json"}, json.dumps({"token": token, "expires_in": 300}).encode())

    def guard(self, proxy, handler, fetch):
        shown = handler.headers.get("Authorization", "")
        if not (shown.startswith("Bearer ") and shown[7:] in self.valid):
            realm = f'Bearer realm="{proxy.scheme}://{proxy.host}/token",service="tests",scope="repository:any:pull"'
            answer(handler, 401, {"WWW-Authenticate": realm}, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')
            return
        handler.headers.replace_header("Authorization", "")
        del handler.headers["Authorization"]
        answer(handler, *fetch())
