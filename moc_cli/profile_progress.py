"""Progress of `moc profile`: what is measured now, and the time left."""

from __future__ import annotations

from moc_cli.progress import _Bar


class ProfileProgress(_Bar):
    """A bar over all rows, by their FLOPs. Nothing is said where there is no terminal: the table comes at the end."""

    def __enter__(self) -> ProfileProgress:
        self.start("trying the device", 1.0)
        return self

    def step(self, label: str, share: float) -> None:
        """`label` is measured now, `share` of the work is done."""
        self.update(label, share)
