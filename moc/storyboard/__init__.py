"""Stories: what `moc generate` is given. Reads YAML into a checked `Storyboard`, and back.

`load_storyboard` reads a file and reports all its mistakes at once, with line and column; `Storyboard.from_dict`,
`Storyboard.overridden` and the importers end in the same checks. Nothing here needs torch.
"""

from moc.storyboard.load import load_storyboard, parse_storyboard
from moc.storyboard.model import Attention, Sampling, Shot, Storyboard, Video
from moc.storyboard.problems import Problem, StoryboardError

__all__ = [
    "Attention",
    "Problem",
    "Sampling",
    "Shot",
    "Storyboard",
    "StoryboardError",
    "Video",
    "load_storyboard",
    "parse_storyboard",
]
