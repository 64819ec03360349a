"""The Content-Security-Policy, which says what a page may load and run: what this server gives, and nothing that was written into a page by others."""

from __future__ import annotations

import re
from collections.abc import Callable

from jinja2 import BaseLoader, Environment

_INLINE = re.compile(r"<(script|style)\b")


def policy(nonce: str = "") -> bytes:
    """The header's value; with a nonce, blocks of the page that carry it count as this server's."""
    inline = f" 'nonce-{nonce}'" if nonce else ""
    return (
        f"default-src 'none'; script-src 'self'{inline}; style-src 'self'{inline}; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ).encode()


class WithNonces(BaseLoader):
    """Templates whose own scripts and styles carry the nonce of the answer. It is written into the source, before any value is, so
    that a value that holds a script gets none."""

    def __init__(self, inner: BaseLoader) -> None:
        self._inner = inner

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, name, is_current = self._inner.get_source(environment, template)
        return _INLINE.sub(r'<\1 nonce="{{ csp_nonce() }}"', source), name, is_current

    def list_templates(self) -> list[str]:
        return self._inner.list_templates()
