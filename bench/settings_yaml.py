"""Settings written in YAML: profiles, searches and values on the command line."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from bench.validation import ConfigError

_MOST_VALUES = 10_000


class _YamlLoader(yaml.SafeLoader):
    """safe_load, with 3e-4 read as a number (YAML 1.2), no key twice and no bombs."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Reads a mapping whose keys all differ as they are written."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                problem=f"{twice[0]!r} stands twice", problem_mark=node.start_mark
            )
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Reads 1e6 as the whole number it is, as a count of steps is often written."""
        number = self.construct_yaml_float(node)
        whole = re.fullmatch(r"[-+]?\d+[eE]\+?\d+", node.value) and math.isfinite(number)
        return int(number) if whole else number

    def get_single_node(self) -> yaml.Node | None:
        """Reads the document, which must stay small where its aliases are written out."""
        root = super().get_single_node()
        waiting = [] if root is None else [root]
        seen = 0
        while waiting:
            node = waiting.pop()
            seen += 1
            if seen > _MOST_VALUES:
                raise yaml.constructor.ConstructorError(
                    problem=f"more than {_MOST_VALUES:,} values, aliases written out"
                )
            if isinstance(node, yaml.MappingNode):
                waiting += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
        return root


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+"),
    list("-+.0123456789"),
)
_YamlLoader.add_constructor("tag:yaml.org,2002:float", _YamlLoader.construct_number)


def parse_yaml(text: str, source: str) -> Any:
    """Reads YAML; an error names the source.

    Raises:
        ConfigError: If it is not YAML.
    """
    loader = None
    try:
        loader = _YamlLoader(text)
        return loader.get_single_data()
    # RecursionError: too many brackets; ValueError: 2020-13-45, a number of 5000 digits
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{source}{line}: not YAML: {problem}") from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a file of settings: safe YAML, numbers such as 1e-3 included, no key twice.

    Raises:
        ConfigError: If it cannot be read or does not hold settings by name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping of options")
    return values
