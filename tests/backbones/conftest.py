"""Puts the tiny model and its stories within reach."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
