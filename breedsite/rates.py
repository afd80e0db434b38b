"""How often one caller may do a thing: counts shared by every process through Valkey, kept here while it is away.

A window slides in steps of a tenth: at any moment the calls of the last ten to eleven steps count, so no stretch of
`seconds` ever lets more than `count` through (a fixed window would let twice as many through around its edge).
"""

import functools
import logging
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

import redis
from django.conf import settings
from django.http import HttpRequest

logger = logging.getLogger(__name__)

STEPS = 10
TIMEOUT_SECONDS = 0.25  # without an answer, after which Valkey counts as unreachable
RETRY_SHARED_SECONDS = 5.0  # how long an unreachable Valkey is left alone
UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86400}
WITH_PORT = re.compile(r"\[(?P<v6>.*)\](:\d*)?|(?P<v4>[\d.]+):\d*")  # as some proxies forward an address

# KEYS[1] one caller's hash of step -> calls; ARGV: count, step in milliseconds. Answers 0, or milliseconds to wait.
# The server's own clock counts, so that processes whose clocks differ share one window.
SLIDE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local width = tonumber(ARGV[2])
local step = math.floor(now / width)
local sum, oldest = 0, step
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  local at = tonumber(counts[i])
  if at < step - 10 then
    redis.call('HDEL', KEYS[1], counts[i])
  else
    sum = sum + tonumber(counts[i + 1])
    if at < oldest then oldest = at end
  end
end
if sum >= tonumber(ARGV[1]) then return (oldest + 11) * width - now end
redis.call('HINCRBY', KEYS[1], step, 1)
redis.call('PEXPIRE', KEYS[1], 11 * width)
return 0
"""

# KEYS[1] as above: one call less, of the newest step.
TAKE_BACK = """
local newest, calls
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  if not newest or tonumber(counts[i]) > tonumber(newest) then newest, calls = counts[i], tonumber(counts[i + 1]) end
end
if newest and calls > 1 then redis.call('HINCRBY', KEYS[1], newest, -1)
elseif newest then redis.call('HDEL', KEYS[1], newest) end
return 0
"""


@dataclass(frozen=True)
class Rate:
    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Rate | None":
        """`600/min`, `10/s`, `1000/day`; empty for no limit. Raises ValueError for anything else."""
        if not text.strip():
            return None
        found = re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*/\s*([a-z]+)\s*", text)
        if not found or found[2] not in UNITS:
            raise ValueError(f"{text!r} is not a rate: write 600/min, 10/s, 1000/day, or nothing for no limit")
        return cls(int(found[1]), UNITS[found[2]])


class LocalCounts:
    """The same sliding window within one process."""

    def __init__(self, *, max_callers: int = 10_000) -> None:
        self.max_callers = max_callers
        self.lock = threading.Lock()
        self.counts: dict[str, dict[int, int]] = {}

    def hit(self, key: str, rate: Rate) -> float:
        width = rate.seconds / STEPS
        now = time.monotonic()
        step = int(now // width)
        with self.lock:
            steps = {at: calls for at, calls in self.counts.pop(key, {}).items() if at >= step - STEPS}
            self.counts[key] = steps  # the last to call is the last in line to be forgotten
            if sum(steps.values()) >= rate.count:
                return (min(steps) + STEPS + 1) * width - now
            steps[step] = steps.get(step, 0) + 1
            if len(self.counts) > self.max_callers:
                del self.counts[next(iter(self.counts))]
        return 0.0

    def take_back(self, key: str) -> None:
        with self.lock:
            steps = self.counts.get(key, {})
            if steps:
                newest = max(steps)
                steps[newest] -= 1
                if steps[newest] == 0:
                    del steps[newest]


class SharedCounts:
    """The sliding window in Valkey, one round trip a call."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        self.slide = self.client.register_script(SLIDE)
        self.less = self.client.register_script(TAKE_BACK)

    def hit(self, key: str, rate: Rate) -> float:
        wait = self.slide(keys=[f"breedsite:rate:{key}"], args=[rate.count, ceil(rate.seconds * 1000 / STEPS)])
        return int(wait) / 1000

    def take_back(self, key: str) -> None:
        self.less(keys=[f"breedsite:rate:{key}"])


class Counts:
    """Shared while Valkey answers, local while it does not: a limit never turns into an error."""

    def __init__(self, url: str) -> None:
        self.local = LocalCounts()
        self.shared = SharedCounts(url) if url.startswith(("redis://", "rediss://", "unix://")) else None
        self.away_until = 0.0
        self.away = False

    def hit(self, key: str, rate: Rate) -> float:
        """Count one call of `key`; 0.0 when it may pass, else the seconds until the next may."""
        if self.shared is None or time.monotonic() < self.away_until:
            return self.local.hit(key, rate)
        try:
            wait = self.shared.hit(key, rate)
        except redis.RedisError as error:
            self.away_until = time.monotonic() + RETRY_SHARED_SECONDS
            if not self.away:
                self.away = True
                logger.warning("the cache does not answer (%s): each process counts calls for itself meanwhile", error)
            return self.local.hit(key, rate)
        if self.away:
            self.away = False
            logger.info("the cache answers again: calls are counted together")
        return wait

    def take_back(self, key: str) -> None:
        """Let the last call of `key` be uncounted; where the cache is away by now it stays, which only slows down."""
        self.local.take_back(key)
        if self.shared is not None and time.monotonic() >= self.away_until:
            with suppress(redis.RedisError):
                self.shared.take_back(key)


@functools.cache
def counts() -> Counts:
    """This process's view of the counts."""
    return Counts(settings.CACHE_URL)


def wait_seconds(scope: str, rate: Rate | None, caller: str) -> int:
    """Count a call; 0 when it may pass, else whole seconds until the next one may."""
    return ceil(counts().hit(f"{scope}:{caller}", rate)) if rate else 0


def take_back(scope: str, caller: str) -> None:
    """The call just counted was none of those that are limited."""
    counts().take_back(f"{scope}:{caller}")


def client_address(request: HttpRequest) -> str:
    """Who asks. A forwarded address is believed only from as many hops as TRUSTED_PROXIES says are ours, for anybody
    can write the header."""
    address: str = request.META.get("REMOTE_ADDR", "")
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if settings.TRUSTED_PROXIES else []
    if hops and hops[-1].strip():
        address = hops[-min(settings.TRUSTED_PROXIES, len(hops))].strip()[:64]
    return one_caller(address)


def one_caller(text: str) -> str:
    """The address without its port. An IPv6 caller is its /64, for one host owns all of that, and `::ffff:1.2.3.4` is
    the IPv4 caller 1.2.3.4; what is no address stays as it is."""
    found = WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found["v6"] or found["v4"] or "") if found else text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False).network_address)
