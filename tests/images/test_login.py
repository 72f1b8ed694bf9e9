# SPDX-License-Identifier: Apache-2.0
"""test_login.py - who we are to a registry, how it is found out, and where it never stands"""
import base64
import contextlib
import json
import pathlib
import shutil
import stat
import subprocess
import threading

import pytest

import home as homes
import registry as registries

LOGIN = ("me", "a very secret word")


@pytest.fixture(scope="module")
def guarded(shared, worker_id, image):
    """A registry that wants a login, with the image app:1."""
    made = registries.Registry(shared / f"guarded-{worker_id}", login=LOGIN)
    made.push(image, "app", "1")
    yield made
    made.close()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def authority(shared, worker_id):
    folder = shared / f"authority-{worker_id}"
    folder.mkdir()
    yield registries.certificates(folder)
    shutil.rmtree(folder, ignore_errors=True)


def docker_config(home, **content):
    (home.base / ".docker").mkdir(exist_ok=True)
    (home.base / ".docker" / "config.json").write_text(json.dumps(content))


def basic():
    return base64.b64encode(":".join(LOGIN).encode()).decode()


def test_login_and_logout(bare, guarded):
    name = f"{guarded.host}/app:1"
    bare.fails("pull", name, says=["unauthorized", f"boxlite login {guarded.host}"])
    bare.fails("login", "-u", "me", "--password-stdin", guarded.host, stdin="wrong", says="unauthorized")
    assert not (bare.base / ".config" / "boxlite" / "auth.json").exists()
    done = bare.run("--debug", "login", "-u", "me", "--password-stdin", guarded.host, stdin=LOGIN[1] + "\n")
    assert done.code == 0 and "Login Succeeded" in done.out
    assert LOGIN[1] not in done.out + done.err and basic() not in done.out + done.err
    kept = bare.base / ".config" / "boxlite" / "auth.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    pulled = bare.run("--debug", "pull", name)
    assert pulled.code == 0, pulled
    assert basic() not in pulled.err and LOGIN[1] not in pulled.err
    assert "Removed" in bare.ok("logout", guarded.host)
    assert "no login" in bare.ok("logout", guarded.host)
    bare.fails("pull", name, says="unauthorized")
    bare.fails("login", "-u", "me", guarded.host, code=2, says="--password-stdin")
    bare.fails("login", "--password-stdin", "https://x", stdin="x", code=2)


def test_logins_of_docker(bare, guarded):
    name = f"{guarded.host}/app:1"
    docker_config(bare, auths={guarded.host: {"auth": basic()}})
    bare.ok("pull", name)
    docker_config(bare, auths={guarded.host: {"auth": "bm90OnJpZ2h0"}})
    bare.fails("pull", name, says="unauthorized")
    # A helper is a program; what it says stays out of messages.
    helper = bare.base / "docker-credential-test"
    helper.write_text("#!/bin/sh\nread -r server\n"
                      f"printf '{{\"Username\":\"{LOGIN[0]}\",\"Secret\":\"{LOGIN[1]}\"}}'\n")
    helper.chmod(0o755)
    docker_config(bare, credHelpers={guarded.host: "test"})
    with_helper = {"PATH": f"{bare.base}:{bare.environment['PATH']}"}
    bare.ok("pull", name, env=with_helper)
    bare.fails("pull", name, says="docker-credential-test")


def test_configured_login(bare, guarded, configure):
    configure(bare, image_registries=[{"host": guarded.host, "transport": "http",
                                       "auth": {"type": "basic", "username": LOGIN[0], "password": LOGIN[1]}}])
    bare.ok("pull", f"{guarded.host}/app:1")


def test_tokens_for_anybody(bare, proxy, image):
    service = registries.TokenService(proxy)
    bare.ok("pull", f"{proxy.host}/app:1")
    assert service.given == 1
    asked = proxy.got("^/token")[0]
    assert "scope=repository%3Aany%3Apull" in asked.path and "service=tests" in asked.path and "Authorization" not in asked.headers


def test_tokens_for_a_user(bare, proxy, image):
    service = registries.TokenService(proxy, LOGIN)
    bare.fails("pull", f"{proxy.host}/app:1", says="unauthorized")
    bare.fails("login", "-u", "me", "--password-stdin", proxy.host, stdin="wrong", says="unauthorized")
    bare.ok("login", "-u", "me", "--password-stdin", proxy.host, stdin=LOGIN[1])
    bare.ok("pull", f"{proxy.host}/app:1")
    assert service.given >= 2
    # The password goes to the token service, and nothing else gets it.
    assert not [r for r in proxy.got("^/v2/") if r.headers.get("Authorization", "").startswith("Basic")]


def test_token_that_expires_in_the_middle(bare, proxy, image):
    service = registries.TokenService(proxy)

    def expire(proxy_, handler, fetch):
        service.valid.clear()
        service.guard(proxy_, handler, fetch)

    with proxy.changed:
        proxy.rules.insert(0, registries.Rule(f"/blobs/{image.digests[1]}", expire))
    bare.ok("pull", f"{proxy.host}/app:1")
    assert service.given == 2


def test_login_stays_with_its_host(bare, guarded, make_proxy, image):
    """A registry that redirects to a blob store does not send our password there."""
    front, store = make_proxy(guarded), make_proxy(guarded)
    front.rule(r"/blobs/", registries.redirect(lambda path: f"http://localhost:{store.port}{path}"), 100)

    def serve(proxy, handler, fetch):
        _, content = guarded.request("GET", handler.path)
        registries.answer(handler, 200, {}, content)

    store.rule(r"/blobs/", serve, 100)
    bare.ok("login", "-u", "me", "--password-stdin", front.host, stdin=LOGIN[1])
    bare.ok("pull", f"{front.host}/app:1")
    assert [r for r in front.got("/blobs/") if "Authorization" in r.headers]
    assert len(store.got("/blobs/")) >= 4
    assert not [r for r in store.requests if "Authorization" in r.headers or "Cookie" in r.headers]


def test_tls(bare, shared, worker_id, authority, configure, image):
    secure = registries.Registry(shared / f"secure-{worker_id}", tls=authority)
    try:
        secure.push(image, "app", "1")
        name = f"{secure.host}/app:1"
        bare.fails("pull", name, says=["certificate", "not trusted"])
        configure(bare, ca_file=str(authority[0]))
        bare.ok("pull", name)
        configure(bare, image_registries=[{"host": secure.host, "skip_verify": True}])
        bare.ok("pull", name)
        configure(bare, image_registries=[{"host": secure.host, "transport": "http"}], ca_file=str(authority[0]))
        bare.fails("pull", name, says="failed to pull")
    finally:
        secure.close()
        shutil.rmtree(secure.folder, ignore_errors=True)


@pytest.fixture
def tunnelled(shared, worker_id, authority, image):
    """A registry that only a proxy knows, under the name registry.test. Yields its port"""
    secure = registries.Registry(shared / f"tunnelled-{worker_id}", tls=authority)
    secure.push(image, "app", "1")
    yield secure.port
    secure.close()
    shutil.rmtree(secure.folder, ignore_errors=True)


def test_proxies_for_https(bare, tunnelled, authority, configure):
    """What is encrypted passes a proxy as a tunnel; the proxy's own login goes to the proxy."""
    name = f"registry.test:{tunnelled}/app:1"
    configure(bare, ca_file=str(authority[0]))
    proxy = registries.Tunnels(tunnelled, login=("who", "proxy-marker-5821"))
    try:
        wrong = bare.fails("--debug", "pull", name, env={"https_proxy": f"http://who:wrong-marker-77@{proxy.host}"}, says="failed to pull")
        assert "marker" not in wrong.err
        proxy.asked.clear()
        way = {"HTTPS_PROXY": f"http://who:proxy-marker-5821@{proxy.host}"}
        done = bare.run("--debug", "pull", name, env=way)
        assert done.code == 0 and "marker" not in done.out + done.err, done
        # Nothing but tunnels, so no plain http was tried on a host that nobody said it of.
        assert proxy.asked and {what for what, _ in proxy.asked} == {f"CONNECT registry.test:{tunnelled}"}
        asked = len(proxy.asked)
        bare.fails("pull", name, env=way | {"NO_PROXY": "registry.test"}, says=["failed to pull", "registry.test"])
        bare.fails("pull", name, says=["failed to pull", "registry.test"])
        assert len(proxy.asked) == asked
    finally:
        proxy.close()


def processes_with(marker):
    """Command lines and environments of this machine's processes that hold a text."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if marker in (folder / name).read_bytes():
                    found.append(f"{folder}/{name}")
    return found


def test_secrets_stand_nowhere(bare, proxy, image):
    """While a login is used, and after it: not in a command line, an environment, a log, a message or a file but its own."""
    marker = "marker-of-a-secret-4711"
    service = registries.TokenService(proxy, ("me", marker))
    bare.ok("login", "-u", "me", "--password-stdin", proxy.host, stdin=marker)
    given = service.given
    release = threading.Event()
    with proxy.changed:
        proxy.rules.insert(0, registries.Rule(f"/blobs/{image.digests[1]}", registries.stuck(1 << 20, release)))
    process = bare.start("--debug", "pull", f"{proxy.host}/app:1")
    proxy.wait_for(f"/blobs/{image.digests[1]}")
    running = processes_with(marker.encode())
    # A new process has no command line yet until its program runs, so the control says when it does.
    with subprocess.Popen(["sh", "-c", "echo runs; read wait", marker], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as control:
        assert control.stdout.readline() == b"runs\n"
        seen = processes_with(marker.encode())
        control.communicate(b"\n")
    release.set()
    out, err = process.communicate(timeout=homes.TIMEOUT)
    assert process.returncode == 0, err
    assert not running and [path for path in seen if f"/{control.pid}/" in path]
    # It was used, and is nowhere.
    assert service.given > given
    encoded = base64.b64encode(f"me:{marker}".encode())
    for text in (marker.encode(), encoded, b"Bearer token", f"token-{service.given}".encode()):
        assert text not in out + err
    holds = [path for path in bare.base.rglob("*") if path.is_file() and path.suffix != ".ext4" and
             any(text in path.read_bytes() for text in (marker.encode(), encoded))]
    assert holds == [bare.base / ".config" / "boxlite" / "auth.json"]


def test_no_way_from_https_to_http(bare, authority, configure, registry, make_proxy, proxy, image):
    front = make_proxy(registry, tls=authority)
    front.rule(r"/blobs/", registries.redirect(lambda path: f"http://{proxy.host}{path}"), 100)
    configure(bare, ca_file=str(authority[0]))
    bare.fails("pull", f"{front.host}/app:1", says="from https to http")
    assert not proxy.requests
    # And no token service in the clear.
    tokens = make_proxy(registry, tls=authority)
    tokens.rule(r"/v2/", registries.says(401, {"WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token"'}), 100)
    bare.fails("pull", f"{tokens.host}/app:1", says="plain http")
    assert not proxy.requests
