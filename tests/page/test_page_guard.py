"""Who the page answers, and what it never gives away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from page_server import Client, served

from isr.page.guard import Guard, Receive, Scope, Send

pytest.importorskip("starlette", reason="pip install keras-isr[page]")

SECRET = b"what no one outside may read"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("guard")
    root = folder / "root"
    (root / "sub").mkdir(parents=True)
    for path in (folder / "secret.png", root / "notes.txt", folder / "rootless.png"):
        path.write_bytes(SECRET)
    (root / "leads.png").symlink_to(folder / "secret.png")
    (root / "away").symlink_to(folder, target_is_directory=True)
    with served(folder / "state", (root,)) as client:
        yield client


def raw(page: Client, path: bytes, method: bytes = b"GET", more: bytes = b"") -> bytes:
    """The answer to a request as it stands, whatever is in its path."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=60) as connection:
        head = b"Host: 127.0.0.1:%d\r\nX-ISR-Token: %s\r\nConnection: close\r\n" % (
            page.port,
            page.token.encode(),
        )
        connection.sendall(method + b" " + path + b" HTTP/1.1\r\n" + head + more + b"\r\n")
        answer = b""
        while block := connection.recv(65536):
            answer += block
        return answer


OUTSIDE = [
    "..",
    "../secret.png",
    "../../secret.png",
    "sub/../../secret.png",
    "sub/..",
    "./sub",
    ".",
    "/etc/passwd",
    "//etc/passwd",
    "sub//..",
    "\\..\\secret.png",
    "..\\secret.png",
    "sub\\..\\..\\secret.png",
    "C:\\Windows\\win.ini",
    "C:/Windows/win.ini",
    "C:secret.png",
    "\\\\server\\share\\a.png",
    "//server/share/a.png",
    "\\\\?\\C:\\a.png",
    "\\\\.\\PhysicalDrive0",
    "secret.png\x00.jpg",
    "\x00",
    "..%2fsecret.png",
    "%2e%2e/secret.png",
    "..%252fsecret.png",
    "%2e%2e%2fsecret.png",
    "..%c0%afsecret.png",
    "leads.png",
    "away",
    "away/secret.png",
    "away/root/../secret.png",
    "a" * 300,
    "a/" * 3000,
    "CON",
    "con.png",
    "NUL",
    "aux.txt",
    "COM1",
    "lpt9.png",
    "sub.",
    "sub ",
    "sub:stream",
    "notes.txt:$DATA",
    "~/secret.png",
    "$HOME/secret.png",
    "\u2025/secret.png",
    "\uff0e\uff0e/secret.png",
    "..\u2215secret.png",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
]


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_nothing_outside_the_roots_is_listed_or_added(page: Client, path: str) -> None:
    assert len(OUTSIDE) >= 40
    status, content, _ = page.ask("GET", f"/folders?root=0&path={quote(path)}")
    assert status == 400 and SECRET not in content
    status, content, _ = page.ask("POST", "/add", {"root": 0, "path": path})
    assert status == 400, content
    assert page.items() == {}


def test_what_is_no_picture_is_not_added_either(page: Client) -> None:
    assert page.ask("POST", "/add", {"root": 0, "path": "notes.txt"})[0] == 400
    assert "notes.txt" not in str(page.json("GET", "/folders?root=0"))


@pytest.mark.parametrize("root", [-1, 1, "0/..", "", "00x", 10**30, None, True, 1.5])
def test_roots_are_known_by_their_numbers(page: Client, root: object) -> None:
    if root is not None:
        assert page.ask("GET", f"/folders?root={quote(str(root))}")[0] == 400
    assert page.ask("POST", "/add", {"root": root, "path": "sub"})[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        b"/static/../__init__.py",
        b"/static/..%2f__init__.py",
        b"/static/%2e%2e/__init__.py",
        b"/static/%2e%2e%2f%2e%2e%2fsecret.png",
        b"/static/..\\__init__.py",
        b"/static//etc/passwd",
        b"/static/%00",
        b"/static/index.html%00.js",
        b"/static/",
        b"/static/C:/x",
        b"/../../etc/passwd",
        b"/items/../state/settings.json",
        b"/items/..%2fsettings.json/result",
        b"/items/%2e%2e/result",
        b"/items/x/result",
        b"/items/x/thumb",
        b"/items/x/play/before",
        b"//etc/passwd",
        b"/state/../server.json",
        b"/server.json",
    ],
)
def test_no_address_leads_to_a_file(page: Client, path: bytes) -> None:
    answer = raw(page, path)
    assert answer.split(b" ", 2)[1] in (b"404", b"400", b"405"), answer[:200]
    assert SECRET not in answer and b"root:" not in answer and b"token" not in answer


NAMES = [
    ("../../evil.png", "evil.png"),
    ("..\\..\\evil.png", "evil.png"),
    ("/etc/evil.png", "evil.png"),
    ("C:\\evil.png", "evil.png"),
    ("a\x00b.png", "ab.png"),
    ("con.png", "_con.png"),
    ("NUL.tar.png", "_NUL.tar.png"),
    (".hidden.png", "hidden.png"),
    ("x" * 500 + ".png", "x" * 156 + ".png"),
    ("\u00e4" * 300 + ".png", "\u00e4" * 78 + ".png"),
    ("a:b|c?.png", "abc.png"),
    ("e\u0301.png", "\u00e9.png"),
]


@pytest.mark.parametrize(("given", "kept"), NAMES, ids=ascii)
def test_uploads_keep_a_plain_name(page: Client, given: str, kept: str) -> None:
    id = page.json("PUT", f"/upload?name={quote(given)}", b"not a picture")["ids"][0]
    about = page.json("GET", f"/items/{id}")
    source = Path(about["source"])
    assert source.parent.name == id and source.is_file()
    assert source.name == kept
    page.json("POST", f"/items/{id}", {"do": "remove"})


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:{port}", "127.0.0.1:1", "127.0.0.1.evil.com:{port}", "localhost", "",
             "user@127.0.0.1:{port}", "192.0.2.7:{port}", "[::ffff:192.0.2.7]:{port}"],
)  # fmt: skip
def test_other_hosts_are_refused(page: Client, host: str) -> None:
    headers = {"Host": host.format(port=page.port), "X-ISR-Token": page.token}
    assert page.ask("GET", "/state?since=0", headers=headers)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "127.9.9.9:{port}"])
def test_this_machine_is_answered(page: Client, host: str) -> None:
    headers = {"Host": host.format(port=page.port), "X-ISR-Token": page.token}
    assert page.ask("GET", "/state?since=0", headers=headers)[0] == 200


@pytest.mark.parametrize("foreign", ['prefs={"a": 1}', "flag", "a b=1", "theme[mode]=dark"])
def test_cookies_of_other_programs_lock_nobody_out(page: Client, foreign: str) -> None:
    """Those of this machine are sent to all its ports."""
    headers = {"Host": f"127.0.0.1:{page.port}", "Cookie": f"{foreign}; isr-page-{page.port}={page.token}"}
    assert page.ask("GET", "/state?since=0", headers=headers)[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.com", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}"],
)
def test_other_origins_are_refused(page: Client, origin: str) -> None:
    headers = {"Origin": origin.format(port=page.port), "X-ISR-Token": page.token}
    assert page.ask("POST", "/go", {"do": "pause"}, headers=headers)[0] == 403
    assert page.ask("GET", "/state?since=0", headers=headers)[0] == 403


def test_the_token_is_asked_for_everywhere(page: Client) -> None:
    for path in ("/", "/state?since=0", "/static/main.js", "/hello", "/folders", "/machine", "/results.zip"):
        assert page.ask("GET", path, headers={})[0] == 403
        assert page.ask("GET", path, headers={"X-ISR-Token": page.token[:-1]})[0] == 403
        assert page.ask("GET", path, headers={"X-ISR-Token": ""})[0] == 403
    assert page.ask("GET", "/?token=wrong", headers={})[0] == 403


def test_the_cookie_is_named_after_the_port_and_needs_an_origin_to_change_something(page: Client) -> None:
    status, _, headers = page.ask("GET", f"/?token={page.token}", headers={})
    assert status == 303 and headers["location"] == "/"
    cookie = headers["set-cookie"].partition(";")[0]
    assert cookie.startswith(f"isr-page-{page.port}=")
    assert "HttpOnly" in headers["set-cookie"] and "SameSite" in headers["set-cookie"]
    own = f"http://127.0.0.1:{page.port}"
    assert page.ask("GET", "/state?since=0", headers={"Cookie": cookie})[0] == 200
    assert page.ask("POST", "/go", {"do": "finish"}, headers={"Cookie": cookie})[0] == 403
    assert page.ask("POST", "/go", {"do": "finish"}, headers={"Cookie": cookie, "Origin": own})[0] == 200
    crossing = {"Cookie": cookie, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert page.ask("GET", "/state?since=0", headers=crossing)[0] == 403


def test_every_answer_keeps_the_page_to_itself(page: Client) -> None:
    for path in ("/", "/state?since=0", "/static/page.css", "/nothing"):
        headers = page.ask("GET", path)[2]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers


def test_nothing_that_is_served_names_another_machine() -> None:
    import isr.page

    for path in (Path(isr.page.__file__).parent / "static").iterdir():
        text = path.read_text(encoding="utf-8", errors="ignore").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text.replace("http://{", ""), path


def test_too_much_is_not_read(page: Client) -> None:
    assert page.ask("POST", "/go", b"x" * 100_000)[0] == 400
    assert page.ask("POST", "/go", b"[]")[0] == 400
    assert page.ask("POST", "/go", {"do": "format C:"})[0] == 400


def test_a_page_that_is_open_to_the_network_says_so_and_asks_for_its_token(tmp_path: Path) -> None:
    with served(tmp_path, host="0.0.0.0") as client:
        assert client.process.stdout is not None
        lines = []
        while not lines or "not encrypted" not in lines[-1]:
            lines.append(client.process.stdout.readline())
            assert lines[-1], lines
        assert lines[0].startswith("open to the network: http://") and client.token in lines[0]
        # The QR code.
        assert sum(set(line.strip()) <= set("\u2580\u2584\u2588 ") for line in lines[1:-1]) >= 15
        own = {"Host": f"192.0.2.7:{client.port}"}
        assert client.ask("GET", "/", headers=own)[0] == 403
        assert client.ask("GET", "/", headers={**own, "X-ISR-Token": client.token})[0] == 200
        for name in (f"evil.com:{client.port}", "192.0.2.7:1"):
            assert client.ask("GET", "/", headers={"Host": name, "X-ISR-Token": client.token})[0] == 403


def test_a_proxy_is_answered_by_its_name_alone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def status(host: str, **more: str) -> int:
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        async def receive() -> Any:
            return {}

        headers = {"host": host, "x-isr-token": "token", **more}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/go", "query_string": b"", "headers": raw}
        asyncio.run(Guard(app, "token", 7860, proxy="p.example")(scope, receive, send))
        code: int = told[0]["status"]
        return code

    assert status("p.example", origin="https://p.example") == status("localhost:7860") == 200
    assert status("127.0.0.1:7860", origin="https://p.example") == 200
    assert status("q.example") == status("p.example", origin="https://q.example") == 403
