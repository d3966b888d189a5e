"""Overrides of a run's settings, in Hydra's grammar and held to the settings' types by OmegaConf.

Hydra's own `compose` searches its path, merges its own configuration and builds every group anew at each call; here
only the groups that an override concerns become OmegaConf nodes, and nothing global changes. Imported when needed,
as Hydra takes a while.
"""

from __future__ import annotations

import copy
import difflib
import re
import shlex
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache, partial
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from benchmark.failures import ConfigError
from benchmark.suggestions import closest_setting, option_for

GROUPS = {"dataset": "--dataset", "scale": "--scale", "protocol": "--protocol", "method": "--methods"}
"""Groups whose option an option of the command line chooses."""
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
_WORDS = ("null", "true", "false", "nan", "inf")
"""What Hydra reads as something else than text."""


def overridden(nodes: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`nodes` (dataclasses by key, such as "runtime" and "method.NAME") with the overrides applied in their order.

    Nodes that no override concerns are returned as they are; in the others tuples have become lists.
    Raises ConfigError with one line.
    """
    linked = any("${" in override for override in overrides)
    if linked:  # may lead to any group, and to Hydra's resolvers
        setup_globals()
    concerned = {
        key: node for key, node in nodes.items() if linked or any(_concerns(o, key) for o in overrides)
    }
    config = _tree(concerned, overrides)
    for override in overrides:
        _check_key(override, config, nodes, partial(_tree, nodes, overrides))
    for override in [_commas_read(override, config) for override in overrides]:
        _apply(override, config)
    try:
        changed = {key: OmegaConf.to_object(OmegaConf.select(config, key)) for key in concerned}
    except OmegaConfBaseException as error:
        raise ConfigError(_first_line(error.__cause__ or error)) from None
    return {**nodes, **changed}


def writable(node: Any) -> Any:
    """Frozen dataclasses make read-only nodes; overrides need them open."""
    OmegaConf.set_readonly(node, None)
    for key in node:
        if isinstance(node, DictConfig) and not OmegaConf.is_missing(node, key):
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                writable(child)
    return node


def open_parts(node: Any, values: Mapping[str, Any]) -> None:
    """Parts that `values` fill and that have no default, or None, begin from their type's defaults, writable."""
    for key, value in values.items():
        child = node._get_node(key, validate_access=False)
        if isinstance(value, Mapping) and isinstance(child, DictConfig):
            if child._is_none() or child._is_missing():
                node[key] = writable(OmegaConf.structured(child._metadata.ref_type))
            open_parts(node._get_node(key), value)


def _concerns(override: str, key: str) -> bool:
    return override.lstrip("~+").startswith((f"{key}.", f"{key}=", f"{key}@"))


def _tree(nodes: Mapping[str, Any], overrides: Sequence[str]) -> DictConfig:
    """The nodes under their keys, writable, with the optional parts that the overrides set; no key can be added."""
    tree = OmegaConf.create()
    for key, node in nodes.items():
        OmegaConf.update(tree, key, _opened(node), merge=False)  # copies it
        for override in overrides:
            if override.startswith(f"{key}."):
                _fill_optional(OmegaConf.select(tree, key), override.removeprefix(f"{key}."))
    OmegaConf.set_struct(tree, True)
    return tree


def _opened(node: Any) -> DictConfig:
    """A dataclass as a writable OmegaConf node, which is not to be changed: it is kept where it can be."""
    try:
        hash(node)
    except TypeError:
        return _open(node)
    return _open_once(node)


def _open(node: Any) -> DictConfig:
    opened: DictConfig = writable(OmegaConf.structured(node))
    return opened


_open_once = cache(_open)
"""OmegaConf evaluates the annotations of every dataclass at each call, which is most of what composing costs."""


def _fill_optional(node: Any, override: str) -> None:
    """Optional parts are None until a setting of theirs is given; then they start from their defaults.

    override: key from `node` on, and value
    """
    key, _, value = override.partition("=")
    path = key.split(".")
    for depth, name in enumerate(path):
        child = node._get_node(name, validate_access=False)
        if not isinstance(child, DictConfig):
            return
        if child._is_none():
            if depth == len(path) - 1 and value == "null":
                return
            node[name] = writable(OmegaConf.structured(child._metadata.ref_type))
        node = node._get_node(name)


def _check_key(
    override: str, config: DictConfig, groups: Container[str], whole: Callable[[], DictConfig]
) -> None:
    """ConfigError unless there is such a setting; `whole`: makes the tree of all groups, for what the error says."""
    match = re.match(r"^[~+]*([\w./-]+)(@[\w.]+)?=", override)
    if not match:
        raise ConfigError(f"{override!r} is no setting; write key=value, e.g. dataset.root=PATH")
    key, value = match.group(1), override[match.end() :]
    group = key.removesuffix(".name")
    if group in GROUPS:
        raise ConfigError(f"setting {key!r} is not set this way; choose the {group} with {GROUPS[group]}")
    if _has(config, key):
        parts = OmegaConf.select(config, key)
        emptied = value == "null" or override.startswith("~")  # as optional parts can be and groups cannot
        settable = value.startswith("{") or value == "null"
        if OmegaConf.is_dict(parts) and not (settable and not (emptied and key in groups)):
            raise ConfigError(
                f"setting {key!r} has parts; set one of {', '.join(f'{key}.{p}' for p in parts)}"
            )
        return
    everything = whole()
    known = _flat_keys(OmegaConf.to_container(everything))
    methods = list(dict.fromkeys(k.split(".")[1] for k in known if k.startswith("method.")))
    if key.startswith("method.") and (name := key.split(".")[1]) not in methods:
        near = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"setting {key!r}: method {name!r} is not part of this run; {hint}it has {', '.join(methods)}"
        )
    if option := option_for(key):
        raise ConfigError(f"there is no setting {key!r}; set it with {option}")
    close = closest_setting(key, known)
    hint = f"; did you mean {close!r}?" if close else f"; settings begin with {', '.join(everything)}"
    raise ConfigError(f"there is no setting {key!r}{hint}")


def _has(config: DictConfig, key: str) -> bool:
    node: Any = config
    for name in key.split("."):
        node = node._get_node(name, validate_access=False) if isinstance(node, DictConfig) else None
        if node is None:
            return False
    return True


def _flat_keys(tree: Any, prefix: str = "") -> list[str]:
    keys = []
    for key, value in tree.items():
        full = f"{prefix}{key}"
        keys.append(full)
        if isinstance(value, dict):
            keys += _flat_keys(value, f"{full}.")
    return keys


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _commas_read(override: str, config: DictConfig) -> str:
    """The override with values separated by commas made one list, or one string where the setting is one.

    To Hydra, commas ask for several runs, and a list is no string. ConfigError where there can be one value only.
    """
    key, _, text = override.partition("=")
    try:
        parsed = _parser().parse_override(override)
    except HydraException:
        return override  # `_apply` says what is wrong with it
    several = parsed.is_sweep_override()
    value = parsed.value()
    if not several and not isinstance(value, list):
        return override
    present = OmegaConf.select(config, key)
    if OmegaConf.is_list(present):
        return f"{key}=[{text}]" if several else override
    if not isinstance(present, str | None):  # what is None by default is text: a path
        raise ConfigError(f"setting {override!r} is not valid: it takes one value, not several")
    joined = ",".join(map(str, value)) if isinstance(value, list) else text
    return f"{key}={QuotedString(joined, Quote.double).with_quotes()}"


def _apply(override: str, config: DictConfig) -> None:
    """Raises ConfigError that names the override, what Hydra, or OmegaConf, has against it, and what to write."""
    try:
        _set(_parser().parse_overrides([override])[0], config)
        return
    except OverrideParseException as error:
        reason = _first_line(error.__cause__ or error)
    except (HydraException, OmegaConfBaseException) as error:
        reason = _first_line(error)
    raise ConfigError(f"setting {override!r} is not valid: {reason}{_remedy(override, config)}")


def _remedy(override: str, config: DictConfig) -> str:
    """How to write what was likely meant, as a word of a shell's command line; "" where quoting does not help.

    Every remedy has been tried: it is parsed, and taken by the setting's type.
    """
    key, _, text = override.partition("=")
    key = key.lstrip("+~")
    present = OmegaConf.select(config, key, throw_on_resolution_failure=False)
    if not (present is None or isinstance(present, str) or OmegaConf.is_list(present)):
        return ""
    for value in _meant(override, text, OmegaConf.is_list(present)):
        candidate = f"{key}={literal(value)}"
        try:
            trial = copy.deepcopy(config)
            _set(_parser().parse_overrides([candidate])[0], trial)
            taken = OmegaConf.select(trial, key)
        except (HydraException, OmegaConfBaseException):
            continue
        if taken == value:
            return f"; write {shlex.quote(candidate)}"
    return ""


def _meant(override: str, text: str, several: bool) -> list[Any]:
    """Values that a text may stand for: as it is, or as the items of a list."""
    if not several:
        return [text]
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    items = [item.strip().strip("\"'") for item in inner.split(",")]
    try:
        parsed = _parser().parse_override(override).value()
    except HydraException:
        return [[text], items] if inner == text else [items]
    return [[parsed], [text]]


def written(key: str, value: Any) -> str:
    """A setting as one word of a shell's command line, from which `overridden` gets the value back.

    value: text, number, truth, None, or a list or dictionary of such
    """
    return shlex.quote(f"{key}={literal(value)}")


def literal(value: Any) -> str:
    """A value in Hydra's grammar: text in quotes unless it is plain, so that nothing in it has a meaning."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", value)
        return QuotedString(text, Quote.double).with_quotes()
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}:{literal(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(literal, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _set(override: Override, config: DictConfig) -> None:
    """As Hydra does it: + adds to what is empty, a list or a dictionary, ++ to anything, and ~ would delete."""
    key, value = override.key_or_group, override.value()
    if override.package is not None:
        raise ConfigCompositionException(
            f"Override {override.input_line} looks like a config group override, "
            f"but config group {key!r} does not exist."
        )
    present = OmegaConf.select(config, key) if override.is_add() or override.is_delete() else None
    if override.is_delete():
        if present is None:
            raise ConfigCompositionException(f"Could not delete from config. {key!r} does not exist.")
        if value is not None and value != present:
            raise ConfigCompositionException(
                f"Could not delete from config. The value of {key!r} is {present} and not {value}."
            )
        parent, _, name = key.rpartition(".")
        with open_dict(config):
            del OmegaConf.select(config, parent)[name]  # no typed setting can be: OmegaConf says so
    elif override.is_add() and present is not None and not isinstance(value, (dict, list)):
        raise ConfigCompositionException(f"Could not append to config. An item is already at {key!r}.")
    else:
        adding = override.is_add() or override.is_force_add()
        OmegaConf.update(config, key, value, merge=True, force_add=adding)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
