"""Puts the shared helpers of the engine's tests within reach."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
