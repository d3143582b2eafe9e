"""Tables that are cut into pieces: nothing is lost, nothing is cut off, no piece is wider than the terminal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from moc_cli.grid import Grid, show

WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=9)


@given(st.integers(1, 12), st.integers(0, 3), st.integers(24, 100), st.data())
@settings(max_examples=60, deadline=None)
def test_every_cell_is_shown_whole(columns: int, rows: int, width: int, data: st.DataObject) -> None:
    grid = Grid([f"{data.draw(WORDS)}\nh{i}" for i in range(columns + 1)])
    for _ in range(rows):
        grid.add(*(data.draw(WORDS) for _ in range(columns + 1)))
    console = Console(width=width)
    with console.capture() as captured:
        show(console, "Title", grid)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert "…" not in "".join(words)
    for cells in (*grid.rows, *zip(*(head.split("\n") for head in grid.heads), strict=True)):
        assert all(cell in words for cell in cells)


def test_pieces_are_about_equally_wide() -> None:
    """Five columns of eight beside the name: three and two, not four and one."""
    grid = Grid(["shots", *("12345678" for _ in range(5))])
    assert [len(table.columns) for table in grid.pieces(49)] == [4, 3]
    assert [len(table.columns) for table in grid.pieces(55)] == [6]
