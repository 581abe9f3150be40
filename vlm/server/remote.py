"""Images by their address: off, unless their domain was named by whoever runs the server.

A server that fetches what it is told to is a way into the network it stands in (server-side request
forgery). So: the address is parsed once, by the library that also connects; its host must be one of the
allowed names, letter by letter; the name is resolved once, every address it has must be public, and the
connection is made to that very address, with the name only in the Host header and in TLS. Redirects and
proxies are not followed, time and size are bounded, and whatever fails is told in the same words, so that
the messages map nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import httpx2

from vlm.errors import UsageError
from vlm.server.errors import ApiError
from vlm.server.images import ImageRef
from vlm.server.limits import Limits

SECONDS = 15.0  # for a whole image
_PORTS = {"http": 80, "https": 443}
_UNICAST = ipaddress.ip_network("2000::/3")
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")  # RFC 9637, which older Pythons don't know

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, as text."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(text: str) -> bool:
    """Whether an address belongs to the open internet; those that wrap another one never do.

    Of IPv6 that is what the registry gives out (2000::/3, RFC 3513), without the parts that stand for IPv4.
    """
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None:
            return False
        if address not in _UNICAST or address in _DOCUMENTATION:
            return False
    return address.is_global and not address.is_multicast


@dataclass(frozen=True)
class Fetcher:
    """Fetches images of the domains allowed.

    Args:
        domains: names, letter by letter; subdomains are others.
        limits: of an image.
        resolve: name and port to addresses.
        transport: what connects; None: httpx2's own.
    """

    domains: frozenset[str]
    limits: Limits
    resolve: Resolve = resolve
    transport: httpx2.AsyncBaseTransport | None = field(default=None, repr=False)

    @classmethod
    def of(cls, domains: Iterable[str], limits: Limits) -> Fetcher:
        """For domains as a person writes them.

        Raises:
            UsageError: not a bare name.
        """
        return cls(frozenset(_domain(name) for name in domains), limits)

    async def fetch(self, ref: ImageRef) -> bytes:
        """The bytes at an address.

        Raises:
            ApiError: not allowed, or it can't be had.
        """
        if not self.domains:
            raise _refused(ref, "images by address are off: send the image as a data URL")
        url = self._allowed(ref)
        try:
            async with asyncio.timeout(SECONDS):
                return await self._fetch(url, ref)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValueError):
            raise _refused(ref, "the image can't be fetched") from None

    def _allowed(self, ref: ImageRef) -> httpx2.URL:
        try:
            url = httpx2.URL(ref.url)
            port = _PORTS.get(url.scheme)
        except (httpx2.InvalidURL, ValueError, UnicodeError):
            raise _refused(ref, "not a valid address") from None
        if port is None:
            raise _refused(ref, "only https, http and data URLs are taken")
        if url.userinfo or url.port not in (None, port):
            raise _refused(ref, "an address with a user or a port of its own is not fetched")
        if url.host not in self.domains:
            raise _refused(ref, "images of this domain are not fetched")
        return url

    async def _fetch(self, url: httpx2.URL, ref: ImageRef) -> bytes:
        name = url.raw_host.decode("ascii")
        addresses = await self.resolve(name, _PORTS[url.scheme])
        if not addresses or not all(map(is_public, addresses)):
            raise ValueError("not public")
        headers = {"Host": name, "Accept": "image/*", "Accept-Encoding": "identity"}
        direct = url.copy_with(host=addresses[0])
        # trust_env off: a proxy would resolve the name a second time.
        client = httpx2.AsyncClient(
            transport=self.transport, trust_env=False, follow_redirects=False, timeout=SECONDS
        )
        async with client:
            request = client.build_request("GET", direct, headers=headers, extensions={"sni_hostname": name})
            response = await client.send(request, stream=True)
            try:
                if response.status_code != httpx2.codes.OK or "content-encoding" in response.headers:
                    raise ValueError("no image")
                return await self._read(response, ref)
            finally:
                await response.aclose()

    async def _read(self, response: httpx2.Response, ref: ImageRef) -> bytes:
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > self.limits.image_bytes:
                raise _refused(ref, f"the image is larger than {self.limits.image_bytes} bytes")
        return bytes(data)


def _domain(name: str) -> str:
    try:
        url = httpx2.URL(f"https://{name}/")
    except (httpx2.InvalidURL, ValueError, UnicodeError):
        url = httpx2.URL("")
    plain = re.fullmatch(rb"[a-z0-9-]+(\.[a-z0-9-]+)*", url.raw_host)
    if plain is None or url.port is not None or url.userinfo or url.path != "/" or url.query or url.fragment:
        raise UsageError(f"--allow-image-domain takes a bare name like images.example.com, not {name!r}")
    return url.host


def _refused(ref: ImageRef, why: str) -> ApiError:
    return ApiError(400, f"{ref.param}: {why}", "invalid_image_url", ref.param)
