"""Where an answer was read: the decoder's attention over soft tokens, mapped back to the image.

While an answer is generated, some heads' attention from the token that decides the next one is kept
for every soft token. A soft token is a cell of a window, and a window is a part of the image, so the
attention of an answer is heat over the image: windows that show the same place add up, each at its
own fineness. The heat's connected regions are the evidence.

Heads differ in what they look at. A checkpoint may name good ones in its config.json
("evidence_heads"; mini's were taught where to look while it was trained); without them all
heads of the middle global layers count, because these read the image (arXiv 2403.06764, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pan_and_scan import Window, draw_boxes, outward
from pan_and_scan.stitch import to_page
from vlm.config import ModelConfig
from vlm.masks import Span, window_of

Head = tuple[int, int]  # layer, query head
Box = tuple[int, int, int, int]
FINEST = 512  # cells of a heat map along its longer side at most
LOWEST = 0.25  # of the hottest cell; what is cooler belongs to no region
ENOUGH = 0.75  # of the heat of a first look, after which no further crop is worth its price
FEWEST = 0.1  # of the whole heat; smaller regions are no evidence


@dataclass(frozen=True)
class Place:
    """A window of one of the images a prompt holds."""

    image: int  # index of the image in the prompt, from 0
    window: Window


@dataclass(frozen=True)
class Evidence:
    """A part of an image that an answer was read from."""

    image: int  # index of the image in the prompt, from 0
    box: Box  # left, top, right, bottom in pixels of the image
    score: float  # its share of the attention the images got, 0 to 1


def default_heads(config: ModelConfig) -> tuple[Head, ...]:
    """The heads a checkpoint names, else all of the global layers in the middle third."""
    if config.evidence_heads:
        return config.evidence_heads
    layers = config.text.num_hidden_layers
    globals_ = [i for i, kind in enumerate(config.text.layer_types) if kind == "full_attention"]
    middle = [i for i in globals_ if layers // 3 <= i <= 2 * layers // 3] or globals_[-1:] or [layers - 1]
    return tuple((layer, head) for layer in middle for head in range(config.text.num_attention_heads))


_Queries = tuple[Tensor, int]  # [1, H, T, head_dim]; the position after the last one
_Keys = tuple[Tensor, int]  # [1, G, K, head_dim]; the position of the first one
AT_ONCE = 32  # tokens whose attention is computed together; less than what a cache holds beyond its window


class AttentionWatch:
    """Keeps how much of some heads' attention each soft token gets, one row an answer's token.

    While tokens are made only their queries are kept, because a step should cost next to nothing more. The
    attention is computed for ``AT_ONCE`` tokens at a time, from the keys that are in the cache anyway.

    Args:
        config: shape of the decoder.
        spans: the soft tokens of the prompt's windows.
        heads: which heads count; their attention is averaged.
    """

    def __init__(self, config: ModelConfig, spans: Sequence[Span], heads: Sequence[Head]) -> None:
        self._scale = config.text.query_pre_attn_scalar**-0.5
        self._groups = config.text.num_attention_heads // config.text.num_key_value_heads
        self._windows = [window_of(kind, config.text.sliding_window) for kind in config.text.layer_types]
        self._positions = torch.cat([torch.arange(s.start, s.end) for s in spans]) if spans else None
        self._heads: dict[int, list[int]] = {}
        for layer, head in heads if spans else ():
            self._heads.setdefault(layer, []).append(head)
        self._queries: dict[int, _Queries] = {}  # the latest of each layer that has such heads
        self._keys: dict[int, _Keys] = {}
        self._waiting: list[dict[int, _Queries]] = []  # one a token
        self._rows: list[Tensor] = []  # [tokens, soft tokens] each

    def see(self, layer: int, q_1HTd: Tensor, k_1GKd: Tensor, key_start: int) -> None:
        """Keep what one layer looks with until ``take``, and what it looks at."""
        if layer in self._heads:
            self._queries[layer] = q_1HTd, key_start + k_1GKd.shape[2]
            self._keys[layer] = k_1GKd, key_start

    def take(self) -> None:
        """The latest attention chose a token of the answer: it becomes that token's row."""
        if self._queries:
            self._waiting.append(self._queries.copy())
            if len(self._waiting) == AT_ONCE:
                self._compute()

    def rows_NS(self) -> Tensor:
        """Attention each token of the answer gave each soft token: float32 [tokens, soft tokens].

        To be asked for while the cache is still this answer's.
        """
        self._compute()
        return torch.cat(self._rows) if self._rows else torch.zeros(0, 0)

    @torch.inference_mode()
    def _compute(self) -> None:
        """Turn what waits into rows: the last token's keys are those of the ones before it, too."""
        if not self._waiting or self._positions is None:
            return
        device = next(iter(self._keys.values()))[0].device
        positions = self._positions.to(device)
        rows_NS = torch.zeros(len(self._waiting), len(positions), device=device)
        for layer, heads in self._heads.items():
            (k_1GKd, start), asked = self._keys[layer], [token[layer] for token in self._waiting]
            queries_HNd = torch.stack([q_1HTd[0, :, -1] for q_1HTd, _ in asked], dim=1).float()
            ends_N1 = torch.tensor([[end - start] for _, end in asked], device=device)
            keys_GKd = k_1GKd[0]
            slots_K = torch.arange(keys_GKd.shape[1], device=device)
            hidden_NK = slots_K >= ends_N1
            window = self._windows[layer]
            if window is not None:
                hidden_NK |= slots_K < ends_N1 - window
            at = positions - start
            held = at >= 0  # a local layer may have left an image behind
            for head in heads:
                scores_NK = queries_HNd[head] @ keys_GKd[head // self._groups].float().T * self._scale
                weights_NK = scores_NK.masked_fill_(hidden_NK, -torch.inf).softmax(-1)
                rows_NS[:, held] += weights_NK[:, at[held]]
        self._waiting.clear()
        self._rows.append(rows_NS.cpu() / sum(map(len, self._heads.values())))


@dataclass(frozen=True)
class Attention:
    """The attention of an answer, with the windows its soft tokens belong to."""

    rows_NS: Tensor  # float32 [tokens of the answer, soft tokens of all windows]
    places: tuple[Place, ...]  # one a window
    tokens: int  # soft tokens a window, a square number

    def evidence(self, start: int = 0, end: int | None = None) -> tuple[Evidence, ...]:
        """Where tokens ``start`` up to ``end`` of the answer were read, the best place first."""
        found: list[Evidence] = []
        for image in dict.fromkeys(place.image for place in self.places):
            heat = self.heat(image, start, end)
            if heat is not None:
                found += regions(heat, image)
        return tuple(sorted(found, key=lambda evidence: -evidence.score))

    def heat(self, image: int, start: int = 0, end: int | None = None) -> Heat | None:
        """Attention over one image, as shares of what all images got; None where they got none."""
        rows = self.rows_NS[start:end]
        if not rows.numel():
            return None
        # Each token of the answer counts the same, however little it looked at images at all.
        weights_S = (rows / rows.sum(-1, keepdim=True).clamp_min(1e-9)).mean(0).numpy()
        shares = weights_S.reshape(len(self.places), self.tokens)
        mine = [i for i, place in enumerate(self.places) if place.image == image]
        side = math.isqrt(self.tokens)
        windows = [self.places[i].window for i in mine]
        return heat_map(shares[mine].reshape(-1, side, side), windows)

    def point(self, token: int) -> tuple[int, float, float] | None:
        """(image, x, y) in pixels where one token of the answer was read; None where nowhere.

        The finest window that looks at the place decides; within it the attention around the
        strongest soft token is averaged, which is finer than a soft token.
        """
        if not self.rows_NS.shape[1]:
            return None
        side = math.isqrt(self.tokens)
        shares = self.rows_NS[token].numpy().reshape(len(self.places), side, side)
        if shares.sum() <= 0:
            return None
        strongest = shares.reshape(len(self.places), -1).max(1)
        rivals = [i for i in range(len(self.places)) if strongest[i] > 0.5 * strongest.max()]
        best = min(rivals, key=lambda i: math.prod(self.places[i].window.size))
        row, column = divmod(int(shares[best].argmax()), side)
        rows, columns = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
        near = shares[best][rows, columns]
        ys, xs = np.mgrid[: near.shape[0], : near.shape[1]]
        place = self.places[best]
        x = columns.start + float((near * xs).sum() / near.sum()) + 0.5
        y = rows.start + float((near * ys).sum() / near.sum()) + 0.5
        px, py = to_page((x, y), place.window, side)
        return place.image, float(px), float(py)


@dataclass(frozen=True)
class Heat:
    """Heat over an image in equal cells."""

    cells: np.ndarray  # float32 [rows, columns], share of the attention each cell got
    width: int  # of the image in pixels
    height: int

    def within(self, window: Window) -> float:
        """The heat inside a window, cells on its edge by the part that lies inside."""
        rows, columns = self.cells.shape
        down = _overlap(window.top * rows / self.height, window.bottom * rows / self.height, rows)
        across = _overlap(window.left * columns / self.width, window.right * columns / self.width, columns)
        return float(down @ self.cells @ across)


def _overlap(start: float, end: float, cells: int) -> np.ndarray:
    """How much of each of ``cells`` unit intervals lies between start and end."""
    edges = np.arange(cells)
    return np.clip(np.minimum(edges + 1, end) - np.maximum(edges, start), 0.0, 1.0)


def worth_a_look(heat: Heat | None, crops: Sequence[Window], most: int) -> tuple[Window, ...]:
    """The crops that hold the heat: the hottest first until ``ENOUGH`` of it is seen, in their own order.

    Args:
        heat: of a first look at the whole image; None where nothing was looked at.
        crops: windows to choose from.
        most: how many at most.
    """
    if heat is None:
        return tuple(crops[:most])
    shares = {crop: heat.within(crop) for crop in crops}
    total, seen = sum(shares.values()), 0.0
    chosen: set[Window] = set()
    for window in sorted(crops, key=lambda crop: -shares[crop])[:most]:
        if seen >= ENOUGH * total and chosen:
            break
        chosen.add(window)
        seen += shares[window]
    return tuple(crop for crop in crops if crop in chosen)


def heat_map(shares_NGG: np.ndarray, windows: Sequence[Window]) -> Heat:
    """Lay the windows' soft tokens over the image, as fine as the finest of them.

    Args:
        shares_NGG: attention of each window's soft tokens, [windows, side, side].
        windows: where they lie; the first is the whole image.
    """
    side = shares_NGG.shape[1]
    width, height = windows[0].size
    columns = min(FINEST, round(width * side / min(w.size[0] for w in windows)))
    rows = min(FINEST, round(height * side / min(w.size[1] for w in windows)))
    cells = np.zeros((rows, columns), dtype=np.float32)
    xs, ys = (np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows
    for share_GG, window in zip(shares_NGG, windows, strict=True):
        inside_x = (xs >= window.left) & (xs < window.right)
        inside_y = (ys >= window.top) & (ys < window.bottom)
        column = ((xs[inside_x] - window.left) * side / window.size[0]).astype(int)
        row = ((ys[inside_y] - window.top) * side / window.size[1]).astype(int)
        spread = share_GG[np.ix_(row, column)]
        if spread.sum() > 0:
            cells[np.ix_(inside_y, inside_x)] += spread * (share_GG.sum() / spread.sum())
    return Heat(cells, width, height)


def regions(heat: Heat, image: int) -> list[Evidence]:
    """Connected regions of a heat map, the hottest first."""
    from scipy import ndimage  # a tenth of a second that most calls never need

    cells = heat.cells
    if not cells.size or cells.max() <= 0:
        return []
    touching = np.ones((3, 3))
    hot = cells >= LOWEST * cells.max()
    # A gap of one cell in a row, as between two words, parts nothing.
    bridged = ndimage.binary_closing(np.pad(hot, 2), np.ones((1, 2)))[2:-2, 2:-2]
    labels, count = ndimage.label(hot | bridged, touching)
    scores = ndimage.sum_labels(cells, labels, range(1, count + 1))
    rows, columns = cells.shape
    found: list[Evidence] = []
    for score, (vertical, horizontal) in zip(scores, ndimage.find_objects(labels), strict=True):
        left, right = (x * heat.width / columns for x in (horizontal.start, horizontal.stop))
        top, bottom = (y * heat.height / rows for y in (vertical.start, vertical.stop))
        if score >= FEWEST * cells.sum():
            found.append(Evidence(image, outward((left, top, right, bottom)), float(score)))
    return sorted(found, key=lambda evidence: -evidence.score)


GLOW = (213, 94, 0)  # vermilion (Okabe and Ito)
STRONGEST = 150  # of 255: how much of the glow covers the hottest place


def draw_evidence(image: Image.Image, attention: Attention, index: int = 0) -> Image.Image:
    """An image with the answer's attention glowing on it and its regions boxed and scored.

    Args:
        image: RGB, as it was asked about.
        attention: of the answer.
        index: which of the prompt's images it is.

    Returns:
        A new RGB image of the same size.
    """
    heat = attention.heat(index)
    if heat is None or heat.cells.max() <= 0:
        return image.copy()
    strength = np.round(heat.cells / heat.cells.max() * STRONGEST).astype(np.uint8)
    mask = Image.fromarray(strength).resize(image.size, Image.Resampling.BICUBIC)
    glowing = Image.composite(Image.new("RGB", image.size, GLOW), image, mask)
    found = [evidence for evidence in attention.evidence() if evidence.image == index]
    boxes = [evidence.box for evidence in found]
    return draw_boxes(glowing, boxes, [f"{evidence.score:.0%}" for evidence in found])
