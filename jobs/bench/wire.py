"""HTTP/1.1 on one keep-alive connection, as little as a benchmark needs: requests as bytes, answers as they come."""

from __future__ import annotations

import socket

LATE_S = 10.0


def request(method: str, target: str, body: bytes = b"", key: str = "") -> bytes:
    """A whole HTTP/1.1 request."""
    head = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n"
    head += f"authorization: Bearer {key}\r\n" if key else ""
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body or method != "GET" else ""
    return head.encode() + b"\r\n" + body


class Wire:
    """One connection. `receive` gives (status, body) of a whole answer; ConnectionError where the server hung up."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=LATE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.index, self.sent_at, self.free_since = -1, 0.0, 0.0

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send one request and wait for its answer."""
        self.socket.sendall(raw)
        while (answer := self.receive()) is None:
            pass
        return answer

    def receive(self) -> tuple[int, bytes] | None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received = received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = received[:end].lower()
        place = head.find(b"\r\ncontent-length:")
        if place >= 0:
            stop = head.find(b"\r\n", place + 2)
            length = int(head[place + 17 : stop if stop >= 0 else end])
            body = received[end + 4 :]
            if len(body) < length:
                return None
        elif b"\r\ntransfer-encoding: chunked" in head:
            if not received.endswith(b"\r\n0\r\n\r\n"):
                return None
            body = _joined(received[end + 4 :])
        else:
            body = b""
        self._received = b""
        return int(head[9:12]), body

    def close(self) -> None:
        self.socket.close()


def _joined(chunked: bytes) -> bytes:
    parts, place = [], 0
    while size := int(chunked[place : (stop := chunked.index(b"\r\n", place))].split(b";")[0], 16):
        parts.append(chunked[stop + 2 : stop + 2 + size])
        place = stop + 4 + size
    return b"".join(parts)
