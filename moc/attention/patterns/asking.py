"""What `route` asks a pattern whose queries choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from moc.candidates import Candidates
from moc.config import MoCConfig
from moc.drops import Draw
from moc.layout import TokenLayout


@dataclass(frozen=True)
class Ask:
    """One call of `route`. Shapes: R query rows, N video chunks, W chosen ranks, at least `config.top_k`.

    Attributes:
        q: [B, H, R, D] queries. keys: [B, H, N, D] descriptors of the video chunks, by rank.
        candidates: which ranks each row may pick. layout, config: of the stream; rows: the rows start:stop it is about.
        best: (q, keys, candidates, k) -> [B, H, R, k] ranks of the best candidates, -1 where fewer are admissible.
        drops: (chosen, draw, candidates) -> ranks after drop-off and drop-in.
        draw: random words of all rows for a seed.
        seed: of drop-off and drop-in, None where there are none.
    """

    q: Tensor
    keys: Tensor
    candidates: Candidates
    layout: TokenLayout
    config: MoCConfig
    rows: tuple[int, int]
    best: Callable[[Tensor, Tensor, Candidates, int], Tensor]
    drops: Callable[[Tensor, Draw, Candidates], Tensor]
    draw: Callable[[int], Draw]
    seed: int | None

    def regularised(self, chosen: Tensor, candidates: Candidates, rows: Tensor | slice) -> Tensor:
        """The choice of some of the rows after drop-off and drop-in, where this is training."""
        if self.seed is None:
            return chosen
        return self.drops(chosen, Draw(self.draw(self.seed).key[:, :, rows]), candidates)
