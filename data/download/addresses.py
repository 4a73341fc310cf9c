"""Asking servers on the open internet only, however their names resolve."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from contextlib import suppress
from functools import cache
from typing import Any

import httpcore2
import httpx2

from calcinosis.data.download.errors import PermanentError, TransientError


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, also where it wraps another one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def public_addresses(host: str, port: int, allowed: frozenset[str]) -> list[str]:
    """The addresses of a host, all of them public or the host allowed by name.

    Raises:
        PermanentError: code `refused_address`, when one of them is private.
        TransientError: when the name cannot be resolved now.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise TransientError("connection", f"no address for {host} ({error})") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if host not in allowed and not is_public(address):
            raise PermanentError(
                "refused_address", f"{host} leads to the private address {address}"
            )
    return addresses


class _PublicBackend(httpcore2.SyncBackend):
    """Connects to the very address that was checked, so that a name cannot change in between."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        error = httpcore2.ConnectError(f"no address for {host}")
        for address in public_addresses(host, port, self._allowed):
            try:
                return super().connect_tcp(address, port, *args, **options)
            except httpcore2.ConnectError as failure:
                error = failure
        raise error


class PublicTransport(httpx2.HTTPTransport):
    """Asks public addresses only.

    Behind a proxy the proxy resolves names: there a name is checked as far as this machine can resolve it.
    """

    def __init__(self, allowed: frozenset[str], connections: int) -> None:
        super().__init__(verify=_certificates())
        self._allowed = allowed
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_certificates(),
            max_connections=connections,
            network_backend=_PublicBackend(allowed),
        )
        proxies = urllib.request.getproxies()
        self._proxies = {
            scheme: httpx2.HTTPTransport(verify=_certificates(), proxy=proxy)
            for scheme in ("http", "https")
            if (proxy := proxies.get(scheme) or proxies.get("all"))
        }

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host, scheme = request.url.host, request.url.scheme
        if scheme not in self._proxies or urllib.request.proxy_bypass(host):
            return super().handle_request(request)
        with suppress(TransientError):
            public_addresses(host, request.url.port or 443, self._allowed)
        return self._proxies[scheme].handle_request(request)

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()
        super().close()


@cache
def _certificates() -> ssl.SSLContext:
    """The system's trusted certificates, read once: it takes longer than a request."""
    return httpx2.create_ssl_context()
