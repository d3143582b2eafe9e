"""What a run would do, and what an interrupted one left: nothing here writes or imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moc.backbones.base import load_backbone
from moc.errors import MocError
from moc.run.device import check_device
from moc.run.folder import RunFolder
from moc.run.request import Request, command, merged_story
from moc.run.selection import parse_shots

if TYPE_CHECKING:
    from moc.backbones.base import Plan


def plan_story(request: Request) -> tuple[Plan, list[int]]:
    """The plan of a request and the numbers of the shots it would draw.

    Raises:
        InputError: the story, the model or the selection can't be served.
    """
    check_device(request.device)
    story, _ = merged_story(request)
    plan = load_backbone(story.model).plan(story)
    numbers = [shot.number for shot in story.shots]
    if request.use_takes:
        return plan, []
    if request.shots:
        return plan, parse_shots(request.shots, len(numbers))
    if request.resume:
        there = RunFolder(request.out).states()
        numbers = [number for number in numbers if number not in there]
    return plan, numbers


def resume_hint(request: Request) -> str:
    """What to say when a run was interrupted: how much is kept and the command that goes on with it."""
    try:
        manifest = RunFolder(request.out).read_manifest()
    except MocError:
        manifest = None
    if manifest is None:
        return "Stopped before anything was drawn."
    if manifest["status"] == "finished":
        return f"Stopped; {request.out} is as it was."
    kept, total = len(manifest["shots"]), len(manifest["storyboard"]["shots"])
    return f"Stopped; {kept} of {total} shots are kept. Go on with: {command(request, '--resume')}"
