"""Stories: what `moc generate` is given. Reads YAML into a checked `Storyboard`, and back.

`load_storyboard` reads a file and reports all its mistakes at once, with line and column; `Storyboard.from_dict`,
`Storyboard.overridden` and the importers end in the same checks. Nothing here needs torch.
"""

from moc.storyboard.importers import Imported, import_holocine, import_story, import_storymem
from moc.storyboard.json_schema import json_schema
from moc.storyboard.load import load_storyboard, parse_storyboard
from moc.storyboard.model import Attention, Sampling, Shot, Storyboard, Video
from moc.storyboard.problems import Problem, StoryboardError
from moc.storyboard.protocol import global_caption, shot_caption
from moc.storyboard.write import to_yaml

__all__ = [
    "Attention",
    "Imported",
    "Problem",
    "Sampling",
    "Shot",
    "Storyboard",
    "StoryboardError",
    "Video",
    "global_caption",
    "import_holocine",
    "import_story",
    "import_storymem",
    "json_schema",
    "load_storyboard",
    "parse_storyboard",
    "shot_caption",
    "to_yaml",
]
