"""The models a page can answer with: the one it was started with, and others that lie on this machine.

Others are loaded when somebody first chooses them. One of them is held beside the first: a person with a
laptop has no room for three. Whoever still talks to the one that went keeps it until the answer's end, and
who chooses it meanwhile gets that same one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from vlm.errors import UsageError
from vlm.session import VLM

Load = Callable[[str], VLM]


class Models:
    """Models by name; safe to use from several threads.

    Args:
        first: loaded already; never given up.
        others: names that may be chosen beside it.
        load: loads one of them.
    """

    def __init__(self, first: VLM, others: Sequence[str] = (), load: Load | None = None) -> None:
        self._first = first
        self._load = load
        self._other: tuple[str, VLM] | None = None
        self._alive: WeakValueDictionary[str, VLM] = WeakValueDictionary()  # those that went, still in use
        self._sides = {self.first_name: first.engine.window_size}
        self._loading = threading.Lock()
        known = others if load is not None else ()
        self.names = (self.first_name, *(name for name in known if name != self.first_name))

    @property
    def first_name(self) -> str:
        """Of the model the page was started with."""
        return self._first.engine.name

    def is_loaded(self, name: str) -> bool:
        """Whether ``get`` returns at once."""
        return self._held(name) is not None

    def get(self, name: str) -> VLM:
        """The model of that name, loaded now if it was not.

        Raises:
            UsageError: no such model is offered here.
            CheckpointError: it can't be loaded.
        """
        if name not in self.names:
            raise UsageError("no model of that name is offered here: choose one of the list")
        held = self._held(name)
        if held is not None:
            return held
        with self._loading:
            held = self._held(name)  # by somebody who was first
            if held is None:
                assert self._load is not None
                self._other = None  # before the next one takes its room
                held = self._alive.get(name) or self._load(name)
                self._alive[name] = held
                self._sides[name] = held.engine.window_size
                self._other = name, held
        return held

    def window_size(self, name: str) -> int:
        """Side of a model's windows in pixels; the first one's where it was never loaded."""
        return self._sides.get(name, self._sides[self.first_name])

    def _held(self, name: str) -> VLM | None:
        if name == self.first_name:
            return self._first
        other = self._other
        return other[1] if other is not None and other[0] == name else None
