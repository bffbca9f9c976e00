"""Who may ask. In: the headers of a request. Out: nothing, or why it is refused.

A page of another site can make a browser send requests to this machine, and a name of its own can be made to lead here (DNS
rebinding). So every request must name this server as its host, come from a page of this server or from none, and, where the
server is reached from other machines, carry the token that was printed with its address.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "")
COOKIE = "cutaway_token"
OUTSIDE = ("cross-site", "same-site")  # what browsers say of requests that another page caused


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a request is not answered."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The rule of one server. hosts: the names that it answers to, with its port, None: any; token: None where none is needed."""

    hosts: frozenset[str] | None
    token: str | None = None

    def check(self, headers: Mapping[str, str], *, given: str | None, is_page: bool) -> Refusal | None:
        """Why the request is refused, None where it is not.

        headers: by their names in small letters. given: the token in its address; is_page: whether it asks for the page itself,
        to which other pages may link.
        """
        host = headers.get("host", "").lower()
        if self.hosts is not None and host not in self.hosts:
            return Refusal(
                reason=f"This server does not answer to the host '{host:.80}'. Open it at http://{min(self.hosts)}."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return Refusal(reason=f"Pages of '{origin:.80}' may not ask this server. Open http://{host} itself.")
        if not is_page and any(word in headers.get("sec-fetch-site", "") for word in OUTSIDE):
            return Refusal(reason=f"Another page caused this request. Open http://{host} itself.")
        if self.token is not None and not self._knows(headers, given):
            return Refusal(
                reason="This server needs its token. Open the whole address that it printed, with ?token= at its end."
            )
        return None

    def _knows(self, headers: Mapping[str, str], given: str | None) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        said = given if given is not None else (cookies[COOKIE].value if COOKIE in cookies else "")
        assert self.token is not None, "asked only where one is needed"
        return hmac.compare_digest(said.encode("utf-8", "replace"), self.token.encode())


def hosts_of(host: str, port: int, *, needs_token: bool) -> frozenset[str] | None:
    """The hosts that a server bound here answers to: those of this machine, and the name it was bound to.

    One bound to every address of its machine does not know its names: it answers to any, and relies on its token.
    """
    if host in EVERYWHERE and needs_token:
        return None
    named = f"[{host}]" if ":" in host else host
    return frozenset(f"{name.lower()}:{port}" for name in (*LOCAL_HOSTS, named))
