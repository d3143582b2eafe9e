"""YAML of training configs, read without surprises."""

from __future__ import annotations

from reprlib import repr as shown
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """YAML in which no key comes twice (the second would silently win), nothing stands for something else (a few
    aliases of aliases unfold into gigabytes), and what looks like a date is a text."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            problem = f"alias '*{event.anchor}': write the value out"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError):  # as PyYAML fails on 0b_ or !!int ""
            problem = f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"key {shown(key.value)} comes twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_value(text: str) -> Any:
    """A value written as in the file.

    Raises:
        ValueError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(error.problem) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
