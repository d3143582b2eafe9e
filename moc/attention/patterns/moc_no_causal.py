"""`moc-no-causal`: as `moc`, but later shots are candidates, too: what it would be without its causal mask (arXiv
2508.21058, sec. 3.2). Shots then have to be denoised together.

Which chunks are candidates is the layout's business (`moc.candidates`), so the choice is that of `moc`.
"""

from __future__ import annotations

from moc.attention.patterns.moc import choose

__all__ = ["choose"]
