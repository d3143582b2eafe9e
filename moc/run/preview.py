"""What a run would do, and what an interrupted one left: nothing here writes or imports torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from moc.errors import MocError
from moc.run.decision import Decision, check
from moc.run.folder import RunFolder
from moc.run.request import Request, command

if TYPE_CHECKING:
    from moc.backbones.base import Plan


def plan_story(request: Request) -> tuple[Plan, list[tuple[int, int]]]:
    """The plan of a request and (shot, take) of what it would draw; a new shot may turn later ones stale and add them.

    Raises:
        InputError: a run would refuse the request.
    """
    asked = check(request)
    decision = Decision(asked, dry=True)
    plan = replace(asked.plan, notes=(*asked.plan.notes, *asked.edits.notes()))
    return plan, [*((number, 1) for number in decision.todo), *decision.variants]


def resume_hint(request: Request) -> str:
    """What to say when a run was interrupted: how much is kept and the command that goes on with it."""
    try:
        manifest = RunFolder(request.out).read_manifest()
    except MocError:
        manifest = None
    if manifest is None:
        return "Stopped before anything was drawn."
    if manifest["status"] == "finished":  # and under --force not yet thrown away
        return f"Stopped; {request.out} is as it was."
    kept, total = len(manifest["shots"]), len(manifest["storyboard"]["shots"])
    return f"Stopped; {kept} of {total} shots are kept. Go on with:\n  {command(request, '--resume')}"
