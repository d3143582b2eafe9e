"""A table that is cut into several where the terminal is too narrow for it, so that no cell is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass
class Grid:
    """A table before it is drawn.

    Attributes:
        heads: headings of the columns, of one or more lines.
        names: how many first columns name the row; every piece repeats them.
        left: columns that are flush left, all others are flush right.
        rows: cells of each row.
    """

    heads: Sequence[str]
    names: int = 1
    left: Sequence[int] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """One more row."""
        self.rows.append(cells)

    def pieces(self, width: int) -> Iterator[Table]:
        """The grid as tables of at most `width` cells, wider only where one column and the row's name are."""
        from rich import box
        from rich.table import Table

        for shown in self._columns(width):
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
            for i in shown:
                table.add_column(self.heads[i], justify="left" if i in self.left else "right", no_wrap=True)
            for row in self.rows:
                table.add_row(*(row[i] for i in shown))
            yield table

    def _columns(self, width: int) -> list[list[int]]:
        """Columns of each piece: as few pieces as fit, and those about equally wide."""
        from rich.cells import cell_len

        sizes = [  # with the two blanks between columns
            2 + max(map(cell_len, (*head.split("\n"), *(row[i] for row in self.rows))))
            for i, head in enumerate(self.heads)
        ]
        fewest = len(_cut(sizes, self.names, width + 2))
        return next(cut for narrow in range(width + 3) if len(cut := _cut(sizes, self.names, narrow)) == fewest)


def _cut(sizes: Sequence[int], names: int, width: int) -> list[list[int]]:
    """Columns of each piece, filled one after another; a piece holds at least one column beside its names."""
    named = list(range(names))
    pieces = [named.copy()]
    for i in range(names, len(sizes)):
        if len(pieces[-1]) > names and sum(sizes[j] for j in (*pieces[-1], i)) > width:
            pieces.append(named.copy())
        pieces[-1].append(i)
    return pieces


def show(console: Console, title: str, grid: Grid, *legend: str) -> None:
    """A grid under its title, and what its columns mean. A title of the table's own would wrap to its width."""
    from rich.text import Text

    from moc_cli.console import tell

    console.print(Text(title, style="bold"))
    for n, table in enumerate(grid.pieces(console.width)):
        if n:
            console.print()
        console.print(table)
    for sentence in legend:
        tell(console, sentence)
    console.print()
