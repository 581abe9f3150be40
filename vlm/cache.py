"""Keys and values of past tokens: local layers keep a window, global layers keep all.

One object owns the position, the growth, the cut back to a prefix, and the reset. Local layers
keep some tokens more than their window (``slack``), so that a conversation can be cut back by a
turn without being read again: past that, a cut means a fresh start, and ``truncate`` says so.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from vlm.config import LayerType, TextConfig

GROWTH = 256  # tokens a full buffer grows by at least


class Watch(Protocol):
    """Who looks on while the decoder attends; ``evidence.AttentionWatch`` is one."""

    def see(self, layer: int, q_1HTd: Tensor, k_1GKd: Tensor, key_start: int) -> None:
        """Told the queries computed now and all keys of a layer, the first at position ``key_start``.

        The keys are a view of the cache: true until more than its slack of tokens were added.
        """

    def take(self) -> None:
        """Told that what was seen last has chosen a token of the answer."""


class _Buffers:
    """Keys and values of all layers of one type.

    Slots ``[0, used)`` of every layer hold the positions ``[start, start + used)``.
    """

    def __init__(
        self, config: TextConfig, layers: list[int], dtype: torch.dtype, device: torch.device | None
    ) -> None:
        self.start = 0
        self.used = 0
        self.capacity = 0
        empty = torch.empty((1, config.num_key_value_heads, 0, config.head_dim), dtype=dtype, device=device)
        self.keys = dict.fromkeys(layers, empty)
        self.values = dict.fromkeys(layers, empty)

    def move(self, kept: int, capacity: int) -> None:
        """Keep the last ``kept`` positions, in buffers of ``capacity`` slots."""
        first = self.used - kept
        for store in (self.keys, self.values):
            for layer, old in store.items():
                # Old and new slots may overlap in place, so a copy goes between.
                tail = old[:, :, first : self.used].clone()
                b, g, _, d = old.shape
                new = old if capacity == self.capacity else old.new_empty((b, g, capacity, d))
                new[:, :, :kept] = tail
                store[layer] = new
        self.start += first
        self.used = kept
        self.capacity = capacity

    def copy(self, other: _Buffers, used: int) -> None:
        """Become a copy of the first ``used`` slots of another, with room to go on."""
        self.start, self.used, self.capacity = other.start, used, used + GROWTH
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, held in theirs.items():
                b, g, _, d = held.shape
                mine[layer] = held.new_empty((b, g, self.capacity, d))
                mine[layer][:, :, :used] = held[:, :, :used]

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for store in (self.keys, self.values) for x in store.values())


class KVCache:
    """Cache of one conversation.

    A step is ``prepare(count)``, then ``append`` once a layer, then ``advance(count)``.

    Args:
        config: shape of the decoder.
        dtype: of the stored keys and values.
        slack: tokens a local layer keeps beyond its window, for cheap cuts.
        device: where they are stored; None is the processor's memory.
    """

    def __init__(
        self,
        config: TextConfig,
        *,
        dtype: torch.dtype = torch.float32,
        slack: int = 256,
        device: torch.device | None = None,
    ) -> None:
        self.length = 0  # tokens held; the next token's position
        self.watch: Watch | None = None
        self._window = config.sliding_window
        self._slack = slack
        self._kinds = config.layer_types
        self._buffers: dict[LayerType, _Buffers] = {}
        for kind in dict.fromkeys(config.layer_types):
            layers = [i for i, k in enumerate(config.layer_types) if k == kind]
            self._buffers[kind] = _Buffers(config, layers, dtype, device)

    def prepare(self, count: int) -> None:
        """Make room for ``count`` more tokens; fixes ``key_start`` for the step."""
        for kind, buffers in self._buffers.items():
            wanted = buffers.used + count
            if wanted <= buffers.capacity:
                continue
            if kind == "full_attention":
                grown = max(wanted, min(2 * buffers.capacity, buffers.capacity + 16 * GROWTH), GROWTH)
                buffers.move(buffers.used, grown)
                continue
            # The first new query still looks window - 1 tokens back; half the slack is kept so that
            # a move happens once in ``slack`` tokens and not at every one.
            kept = min(buffers.used, self._window - 1 + self._slack)
            full = self._window - 1 + 2 * self._slack
            grown = max(kept + count, min(full, max(2 * buffers.capacity, GROWTH)))
            buffers.move(kept, max(grown, buffers.capacity))

    def append(self, layer: int, keys_BHTd: Tensor, values_BHTd: Tensor) -> tuple[Tensor, Tensor]:
        """Write the keys and values of the tokens computed now.

        Returns:
            All keys and values held by the layer, [1, kv_heads, held, head_dim] views; the first
            one belongs to position ``key_start`` of the layer's type.
        """
        assert keys_BHTd.shape == values_BHTd.shape and keys_BHTd.shape[0] == 1, keys_BHTd.shape
        buffers = self._buffers[self._kinds[layer]]
        count = keys_BHTd.shape[2]
        end = buffers.used + count
        assert end <= buffers.capacity, "prepare() was not called for this many tokens"
        keys, values = buffers.keys[layer], buffers.values[layer]
        # narrow() takes half the time of an index, which counts where many conversations take a step.
        keys.narrow(2, buffers.used, count).copy_(keys_BHTd)
        values.narrow(2, buffers.used, count).copy_(values_BHTd)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def slots(self, layer: int) -> tuple[Tensor, Tensor, int]:
        """All slots of a layer, [1, kv_heads, capacity, head_dim] each; how many were used before."""
        buffers = self._buffers[self._kinds[layer]]
        return buffers.keys[layer], buffers.values[layer], buffers.used

    def show(self, layer: int, q_1HTd: Tensor, k_1GKd: Tensor) -> None:
        """Let the watch, if there is one, see how the tokens computed now look at the keys of a layer."""
        if self.watch is not None:
            self.watch.see(layer, q_1HTd, k_1GKd, self.key_start(self._kinds[layer]))

    def key_start(self, kind: LayerType) -> int:
        """Position of the first key that layers of this type hold."""
        return self._buffers[kind].start

    def advance(self, count: int) -> None:
        """Move the position once every layer has its keys."""
        self.length += count
        for buffers in self._buffers.values():
            buffers.used += count

    def truncate(self, length: int) -> int:
        """Cut back to the first ``length`` tokens.

        Returns:
            The number of tokens kept: ``length``, or 0 where a local layer no longer holds the
            window before that position, so that the prompt must be read again from its start.
        """
        assert 0 <= length <= self.length, (length, self.length)
        needed = max(0, length - self._window + 1)
        if any(buffers.start > needed for buffers in self._buffers.values()):
            self.reset()
            return 0
        for buffers in self._buffers.values():
            buffers.used = length - buffers.start
        self.length = length
        return length

    def copy_prefix(self, other: KVCache, length: int) -> None:
        """Become a copy of the first ``length`` tokens of another cache of the same shape.

        Stays as it is where a local layer of the other no longer holds the window before that position.
        """
        assert self.length == 0 <= length <= other.length, (self.length, length, other.length)
        needed = max(0, length - self._window + 1)
        if any(buffers.start > needed for buffers in other._buffers.values()):
            return
        self.length = length
        for kind, buffers in other._buffers.items():
            self._buffers[kind].copy(buffers, length - buffers.start)

    def adopt(self, other: KVCache, length: int) -> None:
        """Take over the first ``length`` tokens of another cache, which is of no use afterwards."""
        self._buffers, self.length = other._buffers, other.length
        self.truncate(length)

    def reset(self) -> None:
        """Forget everything, keep the memory."""
        self.length = 0
        for buffers in self._buffers.values():
            buffers.start = buffers.used = 0

    @property
    def nbytes(self) -> int:
        """Bytes allocated for keys and values."""
        return sum(buffers.nbytes for buffers in self._buffers.values())
