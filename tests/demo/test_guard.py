"""Guard: a request reads uploads alone, and has nothing fetched."""

import asyncio
import json

import pytest

from ssr_plugin.demo.guard import Guard


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "a.wav").touch()
    (folder / "link").symlink_to(tmp_path)
    return folder


@pytest.fixture
def ask(uploads):
    """``ask(path, body=None)``: status, headers, and the body that the app was sent."""
    seen = []

    async def app(scope, receive, send):
        message = await receive() if scope["method"] == "POST" else {}
        seen.append(message.get("body"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(path, body=None):
        seen.clear()
        sent = []
        # In two parts, as a server may hand it on.
        parts = [
            {"type": "http.request", "body": (body or b"")[:5], "more_body": True},
            {"type": "http.request", "body": (body or b"")[5:], "more_body": False},
        ]

        async def receive():
            return parts.pop(0)

        async def send(message):
            sent.append(message)

        method = "GET" if body is None else "POST"
        scope = {"type": "http", "method": method, "path": path}
        asyncio.run(Guard(app, uploads)(scope, receive, send))
        headers = {k.decode(): x.decode() for k, x in sent[0]["headers"]}
        return sent[0]["status"], headers, seen[0] if seen else None

    return ask


def test_uploads_are_read(ask, uploads):
    assert ask(f"/gradio_api/file={uploads}/a.wav")[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//etc/passwd",
        "etc/passwd",
        "{uploads}/../secret",
        "{uploads}/%2e%2e/secret",
        "{uploads}/..%2fsecret",
        "{uploads}/link/secret",
        "{uploads}-2/secret",
        "http://127.0.0.1/secret",
        "https://a.org/b.wav",
        "file:///etc/passwd",
        "{uploads}/a\0.wav",
        "",
    ],
)
def test_nothing_else_is_read(ask, uploads, name):
    path = f"/gradio_api/file={name.format(uploads=uploads)}"
    assert ask(path)[::2] == (403, None)


@pytest.mark.parametrize(
    "route",
    [
        *("proxy=https://a.org", "file/etc/passwd", "vibe-edit", "process_recording"),
        *("run-history/records", "dev/reload", "../monitoring", "custom_component/a"),
    ],
)
def test_routes_that_the_page_does_not_need_are_closed(ask, route):
    assert ask(f"/gradio_api/{route}")[0] == 404
    assert ask("/monitoring")[0] == ask("/gradio_api")[0] == 404


def test_the_page_and_its_parts_come_through(ask):
    for path in ("/", "/config", "/assets/a.js", "/theme.css", "/gradio_api/info"):
        assert ask(path)[0] == 200


def test_a_request_may_name_uploads_and_reaches_the_app_whole(ask, uploads):
    body = json.dumps({"data": [{"path": f"{uploads}/a.wav"}, "/etc/passwd"]}).encode()
    assert ask("/gradio_api/queue/join", body)[::2] == (200, body)


@pytest.mark.parametrize("path", ["/etc/passwd", "http://a.org/b.wav", "a.wav", ""])
def test_a_request_that_names_another_file_or_an_address_does_not(ask, path):
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [{"deep": [[file]]}]}).encode()
    assert ask("/gradio_api/queue/join", body)[::2] == (403, None)


def test_a_request_that_is_too_large_or_no_json_does_not(ask):
    large = b'"' + b"x" * 4_000_000 + b'"'
    assert ask("/gradio_api/queue/join", large)[::2] == (413, None)
    for body in (b"{", b"[" * 100_000):
        assert ask("/gradio_api/queue/join", body)[::2] == (400, None)


def test_the_browser_is_told_to_load_nothing_from_elsewhere(ask):
    for path in ("/", "/monitoring"):
        headers = ask(path)[1]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; ") and "//" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_web_sockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(None, "/")({"type": "websocket", "path": "/"}, None, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
