"""Several arrays in one `.npz` file; equal arrays give equal bytes. Torch-free."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np


def array_file(path: Path) -> zipfile.ZipFile:
    """A new `.npz` file, for `add_array`. Packs lightly: four times as quick as by default, and counts take a tenth
    more."""
    return zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)


def add_array(file: zipfile.ZipFile, name: str, array: np.ndarray, *, packed: bool = True) -> None:
    """One more array, for `np.load`.

    Args:
        file: of `array_file`.
        packed: for counts, which shrink to a quarter. Latents and pictures look like noise to a packer: that takes its
            time and leaves them as they are.
    """
    entry: zipfile.ZipInfo | str = f"{name}.npy"  # by name it is packed, and dated 1980 like a ZipInfo of its own
    if not packed:
        entry = zipfile.ZipInfo(f"{name}.npy")
        entry.compress_type = zipfile.ZIP_STORED
    with file.open(entry, "w", force_zip64=True) as to:
        np.lib.format.write_array(to, array, allow_pickle=False)
