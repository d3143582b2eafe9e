"""What holds for every test."""

from __future__ import annotations

import os

# Before torch is imported: threads that wait in a loop make a busy machine crawl (see moc_cli.main).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
