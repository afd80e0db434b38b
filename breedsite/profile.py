"""Which profile the site runs under, and what may not be wrong in it.

`SITE_URL` decides: an http loopback address is local, https is production. There is nothing in between, for plain http
on a network shows every password and every photo to whoever listens. Plain Python: `settings.py` hands the values in.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MIN_SECRET_LENGTH = 50  # characters; what Django's own deployment check asks for
MIN_SECRET_VARIETY = 5  # different characters


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the environment asked for, before anything is built on it."""

    site_url: str
    debug: bool
    secret_key: str
    secret_key_mode: int | None  # permission bits of the key's file; None when the key came from the environment
    allowed_hosts: Sequence[str]
    trusted_proxies: int
    session_cookie_secure: bool
    csrf_cookie_secure: bool
    hsts_seconds: int
    cors_allowed_origins: Sequence[str]


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_production(site_url: str) -> bool:
    return urlsplit(site_url).scheme == "https"


def own_hosts(site_url: str) -> list[str]:
    """Answered for where ALLOWED_HOSTS is not set: the site's own host, and the names of this machine if local."""
    host = urlsplit(site_url).hostname or ""
    return [host] if is_production(site_url) else [host, "localhost", "127.0.0.1", "[::1]"]


def host_is_allowed(host: str, allowed_hosts: Sequence[str]) -> bool:
    """Whether Django would answer for `host`: the name itself, or a parent named with a leading dot."""
    return any(
        host == allowed.strip("[]") or (allowed.startswith(".") and f".{host}".endswith(allowed))
        for allowed in allowed_hosts
    )


def refusals(start: Start) -> Iterator[str]:
    """One sentence for each reason not to start, the gravest first. Each names the variable and says what to do."""
    url = urlsplit(start.site_url)
    host = url.hostname or ""
    if url.scheme not in {"http", "https"} or not host or url.username or url.query or url.fragment or url.path:
        yield (
            "SITE_URL must be the bare address people open, such as https://breeds.example.org "
            "or http://127.0.0.1:8000, without a path."
        )
        return
    if url.scheme == "http" and not is_loopback(host):
        yield (
            f"SITE_URL names {host} over plain http, which shows passwords and photos to the network: "
            "use an https address, or an http address of this machine itself."
        )
    if start.debug:
        yield "DEBUG is set: this site has no debug mode, remove DEBUG from the environment."
    if "*" in start.allowed_hosts:
        yield "ALLOWED_HOSTS is *: name the hosts this site answers for, separated by commas."
    for origin in start.cors_allowed_origins:
        if not re.fullmatch(r"https?://[^/?#*]+", origin):
            yield f"CORS_ALLOWED_ORIGINS holds {origin!r}: name each origin like https://app.example.org; * is refused."
    if not is_production(start.site_url):
        return
    if len(start.secret_key) < MIN_SECRET_LENGTH or len(set(start.secret_key)) < MIN_SECRET_VARIETY:
        yield (
            f"SECRET_KEY is too weak: take at least {MIN_SECRET_LENGTH} random characters, "
            "or unset it and a key is made in the data folder."
        )
    elif re.search(r"insecure|change-?me|example|secret-?key", start.secret_key, re.IGNORECASE):
        yield "SECRET_KEY looks like a placeholder: take random characters, or unset it and a key is made."
    if start.secret_key_mode is not None and start.secret_key_mode & 0o077:
        yield "The secret key's file can be read by other users: run chmod 600 on it (secret_key in DATA_DIR)."
    if not host_is_allowed(host, start.allowed_hosts):
        yield f"ALLOWED_HOSTS leaves out {host}, the host of SITE_URL: add it, or unset ALLOWED_HOSTS."
    if not start.session_cookie_secure or not start.csrf_cookie_secure:
        yield "SESSION_COOKIE_SECURE or CSRF_COOKIE_SECURE is off: with an https SITE_URL cookies travel over TLS only."
    if start.hsts_seconds <= 0:
        yield "SECURE_HSTS_SECONDS is 0: with an https SITE_URL give at least one second, such as 31536000 (a year)."
    if start.trusted_proxies == 0:
        yield (
            "TRUSTED_PROXIES is 0, but SITE_URL is https and this server speaks no TLS: "
            "put a proxy before it and say how many there are (TRUSTED_PROXIES=1)."
        )
