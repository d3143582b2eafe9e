"""Run folders: rendering a story into files that survive a kill, and changing single shots of it later.

`render(Request(...))` is the whole job; `RunFolder` reads what a run left. Torch-free until a model draws.
"""

from moc.run.folder import RunFolder
from moc.run.job import render
from moc.run.preview import plan_story, resume_hint
from moc.run.request import Listener, Outcome, Request, default_out, merged_story, story_of_run

__all__ = [
    "Listener",
    "Outcome",
    "Request",
    "RunFolder",
    "default_out",
    "merged_story",
    "plan_story",
    "render",
    "resume_hint",
    "story_of_run",
]
