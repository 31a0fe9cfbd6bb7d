"""Who wants to hear of something."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Watchers:
    """Functions that are called when something has happened."""

    def __init__(self) -> None:
        self._told: list[Callable[[], object]] = []

    def add(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have a function called from now on; return what ends that."""
        self._told.append(told)
        return lambda: self._told.remove(told)

    def tell(self) -> None:
        """Call them all."""
        for told in list(self._told):
            told()
