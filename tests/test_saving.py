"""Tables as files: what is refused before any work, and what a reader finds."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from moc import saving
from moc.errors import InputError

ROWS = [{"shots": 1, "ms": 2.5, "note": "a, b"}, {"shots": 2, "ms": None, "note": ""}]


def test_csv(tmp_path: Path) -> None:
    saving.write_table(ROWS, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"shots": "1", "ms": "2.5", "note": "a, b"},
            {"shots": "2", "ms": "", "note": ""},
        ]


def test_parquet(tmp_path: Path) -> None:
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    path = tmp_path / "a.PARQUET"
    saving.check_table(path, (".csv", ".parquet"))
    saving.write_table(ROWS, path)
    read = pd.read_parquet(path)
    assert read["shots"].tolist() == [1, 2]
    assert read["ms"].isna().tolist() == [False, True]
    assert [found.name for found in tmp_path.iterdir()] == ["a.PARQUET"]


def test_parquet_is_refused_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "find_spec", lambda name: None)
    saving.check_table(Path("a.csv"), (".csv", ".json", ".parquet"))
    with pytest.raises(InputError) as error:
        saving.check_table(Path("a.parquet"), (".csv", ".json", ".parquet"))
    said = "--save a.parquet: parquet needs the package pyarrow: pip install pyarrow, or save as .csv or .json."
    assert str(error.value) == said


def test_plots_are_refused_without_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--plot needs the package matplotlib"):
        saving.check_plot(Path("a.png"))


@pytest.mark.parametrize("name", ["a.txt", "csv", "a.csv.gz"])
def test_unknown_endings(name: str) -> None:
    with pytest.raises(InputError, match=r"the name must end in one of \.csv, \.json"):
        saving.check_table(Path(name), (".csv", ".json"))


def test_places_are_looked_at_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders, of which what is missing above will be made; relative to where one is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for good in ("a.csv", "new/deep/a.csv", str(tmp_path / "file"), "../a.csv"):
        saving.check_place(Path(good), "--save")
    for good in (".", "new/deep"):
        saving.check_place(Path(good), "--out", folder=True)
    for bad, words in ((".", "this is a folder; name a file"), ("file/a.csv", "file is a file, so nothing"),
                       ("gone/a.csv", "so nothing can be put"), ("x" * 300 + "/a.csv", "too long")):  # fmt: skip
        with pytest.raises(InputError, match=f"^--save .*{words}"):
            saving.check_place(Path(bad), "--save")
    with pytest.raises(InputError, match=r"--out file/new: .*file is a file"):
        saving.check_place(Path("file/new"), "--out", folder=True)
    monkeypatch.setattr("os.access", lambda *asked: False)
    with pytest.raises(InputError, match="can't be written to"):
        saving.check_place(Path("a.csv"), "--save")
