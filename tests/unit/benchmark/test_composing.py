"""Overrides mean what they mean to Hydra, whose `compose` is the reference here, and leave everything else alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from benchmark.composing import overridden, writable, written
from benchmark.config import compose, settled
from benchmark.failures import ConfigError
from datasets.limits import Share


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


CHARACTERS = st.characters(codec="utf-8", exclude_characters="$\\\n\r", exclude_categories=["C"])
NUMBERS = st.floats(allow_nan=False).map(str) | st.integers(-(10**6), 10**6).map(str)
WORDS = st.from_regex(r"[a-z ]+", fullmatch=True).map(quoted)
TEXTS = [
    "word", "'a, b'", '"with \\"quotes\\" (and more)"', "two words", "5", "1.50", "true", "", "/a/b-c.d",
    "${text.plain}", "${now:%Y}", "'${method.m.inner.count} times'",
]  # fmt: skip
VALUES: list[tuple[Any, Any, list[str], st.SearchStrategy[str]]] = [
    (str, "text", TEXTS, st.text(CHARACTERS).map(quoted)),
    (str | None, None, ["null", "$HOME/x", "none"], st.just("null") | WORDS),
    (float, 0.5, ["1", "1e-1", "'0.3'", "inf", "-2.5", "float(3)"], NUMBERS),
    (float | None, None, ["2", "null"], st.just("null") | NUMBERS),
    (int, 3, ["7", "int(7.5)", "'8'", "${method.m.inner.pair.1}"], st.integers().map(str)),
    (bool, True, ["no", "0", "FALSE", "on"], st.sampled_from(["true", "false", "yes", "off", "1"])),
    (
        tuple[float, ...],
        (1.0, 2.0),
        ["[3,4.5]", "[]", "${method.m.inner.pair}"],
        st.lists(NUMBERS).map(lambda items: f"[{','.join(items)}]"),
    ),
    (tuple[str, ...], ("a",), ["[x,'y z',3]"], st.lists(WORDS).map(lambda items: f"[{','.join(items)}]")),
]
"""Of settings: type, default, values as they may be written, and any others."""
CASES = {
    f"case_{group}_{number}": (kind, default, value, others)
    for group, (kind, default, values, others) in enumerate(VALUES)
    for number, value in enumerate(values)
}
Typed = make_dataclass("Typed", [(name, kind, default) for name, (kind, default, *_) in CASES.items()])


@dataclass
class Text:
    plain: str = "text"
    path: str | None = None


@dataclass(frozen=True)
class Inner:
    count: int = 3
    rate: float = 0.5
    on: bool = True
    factors: tuple[float, ...] = (1.0, 2.0)
    pair: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ("a",)
    limit: float | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    share: Share = 0.25


NODES: dict[str, Any] = {"typed": Typed(), "text": Text(), "other": Text("untouched"), "method.m": Outer()}


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    """Hydra with `NODES` as its groups, and its store as it was afterwards."""
    store = ConfigStore.instance()
    before = dict(store.repo)
    for key, node in NODES.items():
        store.store(
            group=key.replace(".", "/"), name="chosen", node=writable(OmegaConf.structured(node)), package=key
        )
    defaults: list[Any] = [{key.replace(".", "/"): "chosen"} for key in NODES]
    store.store(name="reference", node={"defaults": [*defaults, "_self_"]})
    with initialize(version_base=None, config_path=None):
        yield
    store.repo = before


def by_hydra(overrides: list[str]) -> dict[str, Any]:
    config = hydra_compose("reference", overrides=overrides)
    return {key: OmegaConf.to_object(OmegaConf.select(config, key)) for key in NODES}


def settings_of(nodes: Mapping[str, Any]) -> str:
    return repr({key: settled(node) for key, node in nodes.items()})


def test_values_are_hydras() -> None:
    overrides = [
        *(f"typed.{name}={value}" for name, (_, _, value, _) in CASES.items()),
        "+text.path=added",
        "text.plain=first",
        "++text.plain=second",
        "other={path:'b c'}",
        "method.m={inner:{rate:0.75},share:0.25}",
        "method.m.inner={count:2,names:[b]}",
        "method.m.share=0.5",
        "method.m.maybe=null",
    ]
    assert settings_of(overridden(NODES, overrides)) == settings_of(by_hydra(overrides))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={name: others for name, (*_, others) in CASES.items()}))
def test_any_values_are_hydras(values: dict[str, str]) -> None:
    overrides = [f"typed.{name}={value}" for name, value in values.items()]
    assert settings_of(overridden(NODES, overrides)) == settings_of(by_hydra(overrides))


@pytest.mark.parametrize(
    "override",
    [
        "text.plain=[",
        "text.plain=${nope}",
        "~text.plain=text",
        "~text.path=null",
        "text.plain@x=y",
        "method.m.share=much",
        "method.m.inner.count=1.5",
        "method.m.inner=null",
        "method.m.inner={nope:1}",
    ],
)
def test_what_hydra_refuses_is_refused_in_its_words(override: str) -> None:
    with pytest.raises(Exception) as refused:  # of OmegaConf where a value leads nowhere
        by_hydra([override])
    with pytest.raises(ConfigError) as caught:
        overridden(NODES, [override])
    cause = refused.value.__cause__ if isinstance(refused.value, HydraException) else None
    assert str(cause or refused.value).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_override_at_fault_is_named_among_others() -> None:
    with pytest.raises(ConfigError, match=r"^setting 'method\.m\.share=much' is not valid: .*Float"):
        overridden(NODES, ["text.plain=a", "method.m.share=much", "text.path=b"])


@pytest.mark.parametrize("override", ["text=null", "method.m=null", "~text=null", "++text=null"])
def test_a_group_cannot_be_taken_away(override: str) -> None:
    with pytest.raises(
        ConfigError, match=r"setting '.*' has parts; set one of (text\.plain|method\.m\.inner)"
    ):
        overridden(NODES, [override])


def test_later_overrides_win() -> None:
    assert overridden(NODES, ["text.plain=a", "text.plain=b"])["text"] == Text("b")


def test_only_what_an_override_concerns_is_made_anew() -> None:
    made = overridden(NODES, ["text.plain=a"])
    assert list(made) == list(NODES)
    assert made["other"] is NODES["other"]
    assert made["method.m"] is NODES["method.m"]
    assert NODES["text"] == Text()


def test_nothing_is_kept_of_an_override() -> None:
    """Nodes of frozen dataclasses are kept for the next call."""
    for override in ("method.m.inner.count=9", "method.m.maybe.count=9", "method.m.inner.factors=[9]"):
        assert settled(overridden(NODES, [override])["method.m"]) != Outer()
    assert settled(overridden(NODES, ["method.m.share=0.25"])["method.m"]) == Outer()


def stored(repo: dict[str, Any]) -> dict[str, Any]:
    return {name: stored(item) if isinstance(item, dict) else id(item) for name, item in repo.items()}


def test_hydras_own_state_is_left_alone() -> None:
    store, running = stored(ConfigStore.instance().repo), GlobalHydra.instance().hydra
    compose(["cam"], overrides=["method.cam.inference.scales=1,2", "runtime.store=${runtime.log_dir}"])
    assert stored(ConfigStore.instance().repo) == store
    assert GlobalHydra.instance().hydra is running
    GlobalHydra.instance().clear()
    try:
        compose(["cam"], overrides=["method.cam.inference.flip=false"])
        assert not GlobalHydra.instance().is_initialized()
    finally:
        GlobalHydra.instance().hydra = running


@dataclass(frozen=True)
class Loose:
    """Values as a preset may have them, by which its stages' artifacts would be addressed."""

    number: float = 1
    optional: float | None = 2
    limited: Annotated[float | None, "a limit"] = 3
    row: tuple[float, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2)
    rows: tuple[tuple[float, ...], ...] = ((1,), ())
    table: dict[str, float] = field(default_factory=lambda: {"a": 1})
    count: int = 4
    on: bool = True
    text: str = "1"
    part: Inner = field(default_factory=lambda: Inner(rate=1, limit=2, factors=[3]))  # type: ignore[arg-type]


def test_settings_are_of_their_declared_types() -> None:
    assert repr(settled(Loose())) == repr(
        Loose(
            1.0, 2.0, 3.0, (1.0, 2.0), (1, 2.0), ((1.0,), ()), {"a": 1.0}, part=Inner(rate=1.0, limit=2.0, factors=(3.0,))
        )
    )  # fmt: skip


def test_a_setting_is_the_same_whether_its_group_is_touched() -> None:
    """Else an override of one setting would rename the artifacts that only others decide."""
    preset = Outer(Inner(rate=1, factors=(1, 2), limit=3), share=1)
    touched = overridden({"method.m": preset}, ["method.m.inner.count=3"])["method.m"]
    assert repr(settled(touched)) == repr(settled(preset))


ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"])) | st.sampled_from(
    [
        "a clean origami {}.",
        '/data/it\'s "mine"/x',
        'a"',
        "'",
        "\\",
        '\\"',
        "${x}",
        "\\${x}",
        "$HOME",
        "`date`",
        "a=b",
        "a: b",
        "[a, b",
        "(1)",
        "null",
        "5",
        "1e3",
        "True",
        "",
        " a ",
        "!x",
        "*",
        "#",
        "a;b|c&d",
        "~/x",
        "é 正常",
        "100%",
    ]
)


def pasted(word: str) -> str:
    """What a program is given for a word of a shell's command line."""
    found = subprocess.run(["sh", "-c", f"printf %s {word}"], capture_output=True, check=True)
    return found.stdout.decode()


@given(ANY_TEXT)
def test_a_written_text_comes_back_through_a_shell(text: str) -> None:
    assert overridden(NODES, [pasted(written("text.plain", text))])["text"].plain == text


@given(st.lists(ANY_TEXT), st.integers(), st.booleans(), st.lists(st.floats(allow_nan=False), max_size=3))
def test_a_written_value_of_any_type_comes_back_through_a_shell(
    names: list[str], count: int, on: bool, factors: list[float]
) -> None:
    values = {"names": names, "count": count, "on": on, "factors": factors}
    inner = overridden(NODES, [pasted(written(f"method.m.inner.{k}", v)) for k, v in values.items()])[
        "method.m"
    ].inner
    assert {name: getattr(inner, name) for name in values} == values


@given(ANY_TEXT, st.sampled_from(["text.plain", "text.path", "method.m.inner.names"]))
def test_remedies_work_when_pasted(text: str, key: str) -> None:
    """A refused value is that of the setting, or an item of it, once it is written as the error says."""
    try:
        overridden(NODES, [f"{key}={text}"])
    except ConfigError as error:
        _, found, word = str(error).rpartition("; write ")
        if found:
            group, name = (key.rpartition(".")[0], key.rpartition(".")[2])
            made = overridden(NODES, [pasted(word)])
            value = made[group].__dict__[name] if group == "text" else made["method.m"].inner.names
            assert text == value or text.strip() in (
                "".join(map(str, value)),
                ",".join(value),
                f"[{','.join(value)}]",
            )


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("method.m.inner.names=a clean origami {}.", ["a clean origami {}."]),
        ("method.m.inner.names=hello", ["hello"]),
        ("method.m.inner.factors=2", [2.0]),
        ("text.path=/data/it's here", "/data/it's here"),
        ('text.path=/data/"mine" {x}', '/data/"mine" {x}'),
        ("text.plain=[a", "[a"),
    ],
)
def test_remedies_are_of_the_settings_type(override: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="; write ") as error:
        overridden(NODES, [override])
    assert "\n" not in str(error.value)
    made = overridden(NODES, [pasted(str(error.value).rpartition("; write ")[2])])
    found = made["text"].__dict__ | made["method.m"].inner.__dict__
    assert found[override.partition("=")[0].rpartition(".")[2]] == value


@pytest.mark.parametrize(
    "override", ["method.m.inner.count=many {", "method.m.share=a'b", "method.m.inner.on={"]
)
def test_quotes_are_no_remedy_for_numbers(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        overridden(NODES, [override])
    assert "write" not in str(error.value)
