"""Images of requests: data URLs, and addresses that lead nowhere they should not."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from fakes import picture
from serving import Served, data_url, scripted, user

from vlm.errors import UsageError
from vlm.server.errors import ApiError
from vlm.server.images import ImageRef, data_of, opened
from vlm.server.limits import Limits
from vlm.server.remote import Fetcher, is_public

PLACE = "messages[0].content[0].image_url"
LIMITS = Limits(image_bytes=5000)


def ref(url: str) -> ImageRef:
    return ImageRef(url, PLACE)


# -- data URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_what_the_url_says_of_its_kind_is_not_believed(kind: str) -> None:
    url = data_url(picture(1, 30, 20), kind)
    wrong = url.replace(url[5 : url.index(";")], "image/x-unknown")
    for given in (url, wrong, url.replace("data:", "DATA:"), url.replace(url[5 : url.index(";")], "")):
        assert opened(data_of(ref(given), Limits()), ref(given), Limits().pixels).size == (30, 20)


def test_escapes_and_line_breaks_in_base64_are_read() -> None:
    url = data_url(picture(1, 30, 20))
    head, payload = url.split(",")
    escaped = payload.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    wrapped = "\n".join(payload[at : at + 76] for at in range(0, len(payload), 76))
    assert data_of(ref(f"{head},{escaped}"), Limits()) == data_of(ref(f"{head},{wrapped}"), Limits())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data:", "not of the form"),
        ("data:image/png,abc", "not of the form"),
        ("data:image/png;base64", "not of the form"),
        ("data:text/html;base64,PGI+", "no image"),
        ("data:image/png;base64,abc", "base64"),
        ("data:image/png;base64,a*cd", "base64"),
        ("data:image/png;base64,äöüß", "base64"),
        ("data:image/png;base64,%zz%", "base64"),
        ("data:image/png;base64," + "A" * 8000, "larger than 5000"),
    ],
)
def test_what_is_no_data_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(ApiError, match=says) as refused:
        data_of(ref(url), LIMITS)
    assert refused.value.param == PLACE and refused.value.status == 400


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n" + b"x" * 90]
)
def test_what_is_no_image_is_refused_in_our_words(data: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        opened(data, ref("data:"), LIMITS.pixels)
    message = str(refused.value)
    assert message.startswith(f"{PLACE}: the image: ") and "0x" not in message and "bytes" not in message


# -- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:1::1", "localhost",
        "2001:db8::1",
        "64:ff9b:1::7f00:1", "::127.0.0.1", "::ffff:0:7f00:1", "fec0::1", "5f00::1", "3fff::1", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_open_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_addresses_of_the_open_internet(address: str) -> None:
    assert is_public(address)


class Net:
    """A network that answers what it is told to, and remembers what it was asked."""

    def __init__(self, addresses: list[str], answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.addresses = addresses
        self.answer = answer
        self.asked: list[httpx2.Request] = []
        self.resolved: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append((host, port))
        return self.addresses

    def fetcher(self, *domains: str) -> Fetcher:
        def handle(request: httpx2.Request) -> httpx2.Response:
            self.asked.append(request)
            return self.answer(request)

        transport = httpx2.MockTransport(handle)
        return replace(Fetcher.of(domains, LIMITS), resolve=self.resolve, transport=transport)


def small_png(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, stream=httpx2.ByteStream(b"png"))


def fetched(net: Net, url: str, *domains: str) -> bytes:
    return asyncio.run(net.fetcher(*domains or ("img.example.com",)).fetch(ref(url)))


def test_the_connection_goes_to_the_vetted_address_under_the_name() -> None:
    net = Net(["93.184.216.34", "2606:4700::1111"], small_png)
    assert fetched(net, "https://IMG.example.com/a/b.png?c=d#e") == b"png"
    assert net.resolved == [("img.example.com", 443)]  # once
    (request,) = net.asked
    assert request.url.host == "93.184.216.34" and request.url.raw_path == b"/a/b.png?c=d"
    assert request.headers["host"] == "img.example.com"
    assert request.extensions["sni_hostname"] == "img.example.com"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "https://sub.img.example.com/a.png",
        "https://img.example.com.evil.com/a.png",
        "https://evil.com/img.example.com",
        "https://img.example.com@evil.com/a.png",
        "https://evil.com\\@img.example.com/a.png",
        "https://user:pass@img.example.com/a.png",
        "https://img.example.com:8443/a.png",
        "https://img.example.com%2eevil.com/a.png",
        "ftp://img.example.com/a.png",
        "file:///etc/passwd",
        "gopher://img.example.com/",
        "//img.example.com/a.png",
        "/etc/passwd",
        "",
        "https://",
        "https://[::1/a.png",
        "https://img.example.com:99999999/",
        "http://\x00/",
    ],
)
def test_other_addresses_are_not_even_resolved(url: str) -> None:
    net = Net(["93.184.216.34"], small_png)
    with pytest.raises(ApiError) as refused:
        fetched(net, url)
    assert refused.value.status == 400 and refused.value.code == "invalid_image_url"
    assert not net.resolved and not net.asked


@pytest.mark.parametrize(
    "addresses", [[], ["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:169.254.169.254"]]
)
def test_every_address_of_a_name_must_be_public(addresses: list[str]) -> None:
    net = Net(addresses, small_png)
    with pytest.raises(ApiError, match="can't be fetched"):
        fetched(net, "https://img.example.com/a.png")
    assert not net.asked


def _failing(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("connection refused by 10.0.0.1:22")


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx2.Response(302, headers={"location": "http://127.0.0.1/"}),
        lambda _: httpx2.Response(404),
        lambda _: httpx2.Response(500, content=b"Traceback"),
        lambda _: httpx2.Response(200, headers={"content-encoding": "gzip"}, content=b""),
        _failing,
    ],
)
def test_whatever_fails_is_told_in_the_same_words(answer: Callable[..., httpx2.Response]) -> None:
    net = Net(["93.184.216.34"], answer)
    with pytest.raises(ApiError) as refused:
        fetched(net, "https://img.example.com/a.png")
    assert str(refused.value) == f"{PLACE}: the image can't be fetched"
    assert len(net.asked) == 1  # no redirect was followed


def test_an_image_without_end_is_cut_off() -> None:
    sent = 0

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            nonlocal sent
            while True:
                sent += 1000
                yield b"x" * 1000

    net = Net(["93.184.216.34"], lambda _: httpx2.Response(200, stream=Endless()))
    with pytest.raises(ApiError, match="larger than 5000"):
        fetched(net, "https://img.example.com/a.png")
    assert sent <= 7000


def test_an_image_that_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm.server.remote.SECONDS", 0.1)

    class Slow(httpx2.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            while True:
                await asyncio.sleep(0.02)
                yield b"x"

    net = Net(["93.184.216.34"], lambda _: httpx2.Response(200, stream=Slow()))
    with pytest.raises(ApiError, match="can't be fetched"):
        fetched(net, "https://img.example.com/a.png")


@pytest.mark.parametrize("name", ["", "https://a.b", "a.b/c", "a.b:80", "u@a.b", "a.b?c", "a b"])
def test_a_domain_is_a_bare_name(name: str) -> None:
    with pytest.raises(UsageError, match="--allow-image-domain"):
        Fetcher.of([name], LIMITS)


# -- over the wire -----------------------------------------------------------------------------------


def part(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_addresses_are_off_until_a_domain_is_allowed(tmp_path: Path) -> None:
    with scripted(tmp_path) as (served, _):
        error = served.error(400, messages=[user(part("https://img.example.com/a.png"), "What?")])
    assert "are off" in error["message"] and error["param"] == PLACE


def test_an_allowed_name_of_this_machine_is_not_fetched_from(tmp_path: Path) -> None:
    with scripted(tmp_path, image_domains=("localhost",)) as (served, _):
        error = served.error(400, messages=[user(part("http://localhost/a.png"), "What?")])
    assert error["message"] == f"{PLACE}: the image can't be fetched"


def test_a_fetched_image_is_looked_at(tmp_path: Path) -> None:
    held = io.BytesIO()
    picture(1, 60, 50).save(held, "PNG")
    net = Net(["93.184.216.34"], lambda _: httpx2.Response(200, stream=httpx2.ByteStream(held.getvalue())))

    def asked(served: Served) -> httpx2.Response:
        served.service.fetcher = replace(net.fetcher("img.example.com"), limits=Limits())
        return served.ask(messages=[user(part("https://img.example.com/a.png"), "What?")])

    with scripted(tmp_path) as (served, engine):
        assert asked(served).status_code == 200
        assert engine.crops == [(60, 50)]
