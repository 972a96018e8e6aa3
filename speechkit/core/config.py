"""Configs: frozen dataclasses from TOML or JSON, checked, with errors that name the right key."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from speechkit.core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ConfigT = TypeVar("ConfigT")


def from_dict(cls: type[ConfigT], mapping: Mapping[str, Any]) -> ConfigT:
    """Return a ``cls`` built from a nested mapping, as TOML or JSON gives it.

    Understands nested dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``,
    ``X | None``, ``Literal``, ``Path``, and integers where a float is wanted. TOML has no null, so
    the string "none" stands for it where None fits and a string does not. Raises ConfigError for
    an unknown key (naming the nearest valid one), a missing key, a value of the wrong type, and a
    value that the dataclass itself refuses with a ValueError.
    """
    return _build(cls, mapping, path="", root=cls)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain dicts, lists and scalars, ready for JSON.

    `from_dict` of the result equals ``config``.
    """
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init
    }


def require_range(config: Any, **limits: tuple[float, float]) -> None:
    """Raise ValueError, naming the field, unless each of these fields lies within its limits.

    For `__post_init__`; `from_dict` turns it into a ConfigError.
    """
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise ValueError(f"{name} must lie between {low:g} and {high:g}, not {value}")


def load_toml(path: str | Path, cls: type[ConfigT], overrides: Sequence[str] = ()) -> ConfigT:
    """Return a ``cls`` from a TOML file, after changing it by overrides such as "train.lr=1e-4".

    The right-hand side is a TOML value; what is not one is taken as a string, so quotes around
    plain words may be left out. Raises ConfigError for a file that cannot be read or parsed, for
    an override without "=", and whatever `from_dict` refuses.
    """
    try:
        mapping = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    for override in overrides:
        _apply(mapping, override)
    return from_dict(cls, mapping)


def _apply(mapping: dict[str, Any], override: str) -> None:
    """Change ``mapping`` in place by one "a.b=c" override."""
    key, equals, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(f'Write the override "{override}" as key=value, such as train.lr=1e-4.')
    for depth, name in enumerate(names[:-1]):
        child = mapping.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(
                f'"{".".join(names[: depth + 1])}" is a single value, so the override '
                f'"{override}" cannot change a key inside it.'
            )
        mapping = child
    mapping[names[-1]] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    """Return ``text`` read as one TOML value, or as it is when it is not one."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    # A line break in the text would smuggle in a second key.
    return parsed["value"] if len(parsed) == 1 else text


def _build(cls: type[ConfigT], value: Any, path: str, root: type[Any]) -> ConfigT:
    """Return dataclass ``cls`` from a mapping found at the dotted ``path`` of config ``root``."""
    if not isinstance(value, Mapping):
        raise _wrong_type(path, "a table of keys", value)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise _unknown_key(_join(path, str(key)), fields, path, root)
    missing = [
        _join(path, name)
        for name, field in fields.items()
        if name not in value
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"The config lacks {', '.join(missing)}: add a value.")
    parts = {key: _convert(hints[key], part, _join(path, key), root) for key, part in value.items()}
    try:
        return cls(**parts)
    except ValueError as error:
        raise ConfigError(f"{path or cls.__name__}: {error}") from error


def _convert(hint: Any, value: Any, path: str, root: type[Any]) -> Any:
    """Return ``value`` as the annotated type ``hint``, or raise ConfigError."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(typing.get_args(hint), value, path, root)
    if origin is Literal:
        choices = typing.get_args(hint)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            names = ", ".join(repr(choice) for choice in choices)
            raise ConfigError(f"{path} must be one of {names}, not {value!r}.")
        return value
    if origin in (tuple, list, Sequence):
        return _convert_sequence(hint, value, path, root)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _wrong_type(path, "a table of keys", value)
        inner = typing.get_args(hint)[1]
        return {key: _convert(inner, part, _join(path, key), root) for key, part in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else _build(hint, value, path, root)
    return _convert_scalar(hint, value, path)


def _convert_union(hints: Sequence[Any], value: Any, path: str, root: type[Any]) -> Any:
    """Return ``value`` as the first alternative that takes it."""
    if value is None and types.NoneType in hints:
        return None
    failures = []
    for hint in hints:
        if hint is types.NoneType:
            continue
        try:
            return _convert(hint, value, path, root)
        except ConfigError as error:
            failures.append(error)
    if value == "none" and types.NoneType in hints:
        return None
    raise failures[0]


def _convert_sequence(hint: Any, value: Any, path: str, root: type[Any]) -> Any:
    """Return a list or tuple as the tuple (or list) that ``hint`` asks for."""
    if not isinstance(value, (list, tuple)):
        raise _wrong_type(path, "a list", value)
    inner = typing.get_args(hint)
    fixed = typing.get_origin(hint) is tuple and not (len(inner) == 2 and inner[1] is Ellipsis)
    if fixed and len(inner) != len(value):
        raise ConfigError(f"{path} must have {len(inner)} values, not {len(value)}.")
    hints = inner if fixed else [inner[0]] * len(value)
    parts = [
        _convert(part_hint, part, f"{path}[{i}]", root)
        for i, (part_hint, part) in enumerate(zip(hints, value, strict=True))
    ]
    return parts if typing.get_origin(hint) is list else tuple(parts)


_SCALARS: Mapping[type[Any], str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    Path: "a path in quotes",
}


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    """Return ``value`` if it is a ``hint``; a whole number passes as a float, text as a path."""
    if hint not in _SCALARS:
        raise TypeError(f"{path}: configs cannot hold the type {hint!r}")
    # bool is a subclass of int in Python, and layers=true is a mistake, not 1.
    if type(value) is hint or (hint is Path and isinstance(value, Path)):
        return value
    if hint is float and type(value) is int:
        return _to_float(value, path)
    if hint is Path and type(value) is str:
        return Path(value)
    raise _wrong_type(path, _SCALARS[hint], value)


def _to_float(value: int, path: str) -> float:
    """Return a whole number as a float."""
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{path} is too large: use a smaller number.") from error


def _plain(value: Any) -> Any:
    """Return one config value as JSON types."""
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return str(value) if isinstance(value, Path) else value


def _join(path: str, key: str) -> str:
    """Return the dotted path of ``key`` inside ``path``."""
    return f"{path}.{key}" if path else key


def _wrong_type(path: str, wanted: str, value: Any) -> ConfigError:
    """Return the error for a value of the wrong type."""
    return ConfigError(
        f"{path or 'The config'} must be {wanted}, not {_shorten(value)} ({type(value).__name__})."
    )


def _shorten(value: Any) -> str:
    """Return a short text for a value of any size."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(key: str, siblings: Mapping[str, Any], path: str, root: type[Any]) -> ConfigError:
    """Return the error for an unknown key, with the nearest valid one: near by first, then all."""
    name = key.rpartition(".")[2]
    close = [_join(path, near) for near in difflib.get_close_matches(name, siblings, n=1)]
    if not close:
        everywhere = {full.rpartition(".")[2]: full for full in reversed(_all_keys(root))}
        close = [everywhere[near] for near in difflib.get_close_matches(name, everywhere, n=1)]
    hint = f"did you mean {close[0]}?" if close else f"valid here: {', '.join(siblings)}."
    return ConfigError(f"Unknown config key {key}: {hint}")


def _all_keys(cls: type[Any], path: str = "") -> list[str]:
    """Return the dotted paths of all fields of a config and of the configs inside it."""
    keys = []
    for name, hint in typing.get_type_hints(cls).items():
        keys.append(_join(path, name))
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner) and isinstance(inner, type) and inner is not cls:
                keys.extend(_all_keys(inner, _join(path, name)))
    return keys
