"""Wait for the requests that are under way, without stopping new ones."""

from __future__ import annotations

from collections.abc import Callable


class Drain:
    """Runs an action once every request that had begun before it was asked for has ended."""

    def __init__(self) -> None:
        self._under_way: set[object] = set()
        self._waiting: list[tuple[set[object], Callable[[], None]]] = []

    def begin(self) -> object:
        """A request begins; returns what `end` takes."""
        request = object()
        self._under_way.add(request)
        return request

    def end(self, request: object) -> None:
        self._under_way.discard(request)
        still = []
        for before, action in self._waiting:
            before.discard(request)
            if before:
                still.append((before, action))
            else:
                action()
        self._waiting = still

    def after(self, action: Callable[[], None]) -> None:
        """Run the action when all that is under way now has ended; at once where nothing is."""
        if self._under_way:
            self._waiting.append((set(self._under_way), action))
        else:
            action()
