"""Whom a server lets in: its keys, its users' tokens, its limits, and whether reads need a key at all."""

from __future__ import annotations

import ipaddress

from schemas.errors import SettingError
from schemas.settings import Settings
from serving.keys import Keys
from serving.limits import Buckets, WrongKeys
from serving.user_tokens import UserTokens
from warehouse.layout import Warehouse

NO_KEY = "off: no API key is configured; `cinematch keys create` makes one"


class Guard:
    """Keys, tokens and limits of one server; `serving.access` decides by them."""

    def __init__(self, warehouse: Warehouse, settings: Settings) -> None:
        self.is_private = is_private(settings)
        self.cache_control = b"private, no-cache" if self.is_private else b"public, no-cache"
        self.keys = Keys(warehouse, settings.api_key_hashes)
        self.user_tokens = UserTokens(settings.user_token_secret)
        self.key_reads = Buckets("key", settings.key_reads)
        self.address_reads = Buckets("address", settings.address_reads)
        self.wrong_keys = WrongKeys()
        self.key_ratings = Buckets("key", settings.write_rate, what="ratings", burst_s=1)


def is_private(settings: Settings) -> bool:
    """Whether reads need a key: where it is set, and where others than this machine can reach the server and nothing is set. Raises
    SettingError where both are."""
    if settings.private and settings.public:
        raise SettingError("private and public: expected one of the two, got both")
    return settings.private or not settings.public and not is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
