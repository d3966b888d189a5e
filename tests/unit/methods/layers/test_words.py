"""Word lists and prompts: the shipped ones, a user's own, and what is wrong with a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from datasets.base import TrainingView
from datasets.bluefilm.dataset import BlueFilm
from datasets.coco.annotations import CLASSES as COCO_CLASSES
from datasets.limits import first_fault
from datasets.shapes.dataset import Shapes
from datasets.voc.reader import CLASSES
from methods import ca_cl
from methods.base import MethodError, NotRunnable
from methods.layers.clip.config import NANO, ClipConfig
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import CLASSES as OF_CLASSES
from methods.layers.clip.words import COMMON, PROMPTS, SHIPPED, TextConfig, resolve_texts

BOTH = (OF_CLASSES, COMMON)


def view(name: str, classes: tuple[str, ...]) -> TrainingView:
    return TrainingView(name, classes, {"train": ()})


def lists(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_importing_imports_no_torch() -> None:
    code = "import sys, methods.layers.clip.words, methods.ca_cl, methods.clims; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("voc2012", CLASSES),
        ("coco2014", COCO_CLASSES),
        ("shapes", Shapes.classes),
        ("bluefilm", BlueFilm.classes),
    ],
)
def test_shipped_lists_have_every_class(name: str, classes: tuple[str, ...]) -> None:
    texts = resolve_texts("method.ca_cl", TextConfig(), view(name, classes), BOTH)
    assert len(texts.names) == len(texts.background) == len(classes)
    assert {len(words) for words in texts.background} == {5}
    assert texts.common
    assert texts.prompts == PROMPTS


def noun(text: str) -> str:
    """The last part of a name in the singular, near enough to compare: "coffee table" -> "table"."""
    last = text.split()[-1].lower()
    return last[:-1] if last.endswith("s") and not last.endswith("ss") else last


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda p: p.stem)
def test_no_shipped_words_noun_is_a_classes(path: Path) -> None:
    import yaml

    classes = tuple(yaml.safe_load(path.read_text())["classes"])
    texts = resolve_texts("method.ca_cl", TextConfig(words_per_class=7), view(path.stem, classes), BOTH)
    nouns = {noun(name) for name in (*classes, *texts.names)}
    words = [word for words in texts.background for word in words]
    assert [word for word in (*words, *texts.common) if noun(word) in nouns] == []


PARTS = Path(ca_cl.__file__).with_name("parts.yaml")


def belonging(words: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs (class, word) where the word holds a class's name or synonym or names a part of the class itself."""
    import yaml

    objects = yaml.safe_load(PARTS.read_text())
    classes = {singular(name) for name in (*words, *names.values())}
    classes |= {singular(other) for name in words for other in objects[name]["synonyms"]}
    found = []
    for name, of_class in words.items():
        parts = {singular(part) for part in objects[name]["parts"]}
        found += [
            (name, word)
            for word in of_class
            if singular(word) in parts or any(f" {known} " in f" {singular(word)} " for known in classes)
        ]
    return found


def singular(text: str) -> str:
    return " ".join(noun(word) for word in text.split())


@pytest.mark.parametrize(("name", "classes"), [("voc2012", CLASSES), ("coco2014", COCO_CLASSES)])
def test_words_of_published_data_are_beside_the_object(name: str, classes: tuple[str, ...]) -> None:
    texts = resolve_texts("method.ca_cl", TextConfig(words_per_class=7), view(name, classes), BOTH)
    names = dict(zip(classes, texts.names))
    assert belonging(dict(zip(classes, texts.background)), names) == []
    assert belonging({classes[0]: texts.common}, names) == []


def test_words_that_belong_to_the_object_are_flagged() -> None:
    words = {
        "pottedplant": ["flower pot", "wall"],
        "sofa": ["Cushions", "lamp"],
        "person": ["crowd", "bike rack", "bus stop"],
        "bicycle": ["couch", "road"],
        "bus": ["street"],
    }
    assert belonging(words, {}) == [
        ("pottedplant", "flower pot"),
        ("sofa", "Cushions"),
        ("person", "crowd"),
        ("person", "bike rack"),
        ("person", "bus stop"),
        ("bicycle", "couch"),
    ]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_words_are_seven_distinct_ones_and_no_class(path: Path) -> None:
    import yaml

    classes = tuple(yaml.safe_load(path.read_text())["classes"])
    texts = resolve_texts("method.ca_cl", TextConfig(words_per_class=7), view(path.stem, classes), BOTH)
    for name, words in zip(classes, texts.background):
        assert len(set(words)) == 7, name
        assert not set(words) & {*classes, *texts.names}, name


def test_the_miniature_knows_the_words_of_shapes_and_not_others() -> None:
    shapes = resolve_texts(
        "method.ca_cl", TextConfig(words_per_class=7), view("shapes", Shapes.classes), BOTH
    )
    require_covered("method.ca_cl.clip", ClipConfig(NANO, "nano/clip"), shapes)
    voc = resolve_texts("method.ca_cl", TextConfig(), view("voc2012", CLASSES), BOTH)
    require_covered("method.ca_cl.clip", ClipConfig(), voc)
    with pytest.raises(NotRunnable, match=r"does not know \d+ of \d+ words \(.*\); needs a CLIP that does"):
        require_covered("method.ca_cl.clip", ClipConfig(NANO, "nano/clip"), voc)
    assert (
        first_fault(ClipConfig(normalise="none"))
        == "normalise=none: there are clip, imagenet, openai, inception"
    )


def test_texts_fill_prompts_in_order() -> None:
    texts = resolve_texts(
        "method.ca_cl",
        TextConfig(words_per_class=2, prompts=("a {}.", "the {}."), names=("person=player", "nobody=x")),
        view("voc2012", ("person", "diningtable")),
        BOTH,
    )
    assert texts.of_classes() == [["a player.", "the player."], ["a dining table.", "the dining table."]]
    assert texts.of_backgrounds()[1] == ["a floor.", "the floor.", "a carpet.", "the carpet."]
    assert texts.of_common_background()[0] == "a tree."


def test_a_users_own_list_and_prompts(tmp_path: Path) -> None:
    words = lists(tmp_path, "classes:\n  gear: {text: cogwheel, words: [oil, bench]}\n")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\nan x-ray of {}\n")
    config = TextConfig(words=words, words_per_class=1, prompts_file=str(prompts))
    texts = resolve_texts("method.ca_cl", config, view("folder", ("gear",)), {OF_CLASSES})
    assert texts.of_classes() == [["an x-ray of cogwheel"]]
    assert texts.background == (("oil",),)
    assert texts.common == ()


def test_words_that_are_not_used_need_not_be_there(tmp_path: Path) -> None:
    classes = ("gear", "wheel")
    config = TextConfig(words=lists(tmp_path, "common: [oil]\nclasses: {gear: {text: cogwheel}}\n"))
    texts = resolve_texts("method.ca_cl", config, view("folder", classes), {COMMON})
    assert (texts.names, texts.background, texts.common) == (("cogwheel", "wheel"), (), ("oil",))
    alone = TextConfig(words=lists(tmp_path, "common: [oil]\n"), names=("wheel=disc",))
    assert resolve_texts("method.ca_cl", alone, view("folder", classes), {COMMON}).names == ("gear", "disc")
    assert resolve_texts("method.ca_cl", TextConfig(), view("folder", classes), ()).names == classes


def test_data_without_a_list_is_not_runnable() -> None:
    with pytest.raises(
        NotRunnable, match=r"no list of background words for folder; .* method\.ca_cl\.text\.words=FILE"
    ):
        resolve_texts("method.ca_cl", TextConfig(), view("folder", ("gear",)), {COMMON})


def test_a_view_without_classes_needs_no_list() -> None:
    assert resolve_texts("method.ca_cl", TextConfig(), view("doctor", ()), BOTH).names == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {a: {words: [x]}}", r"mine\.yaml: no background words for class 'gear'; add"),
        ("classes: {gear: {words: [x]}}", r"mine\.yaml: class 'gear' has 1 background words, .*=2; add some"),
        ("classes: {gear: [x, y]}", r"mine\.yaml: class 'gear' must be"),
        ("classes: {gear: {words: [on, x]}}", r"mine\.yaml: class 'gear' must be a list of words \(quote"),
        ("classes: {gear: {words: x}}", r"mine\.yaml: class 'gear' must be a list of words"),
        ("classes: {gear: {text: 7, words: [x, y]}}", r"text of class 'gear'"),
        ("gear: [x, y]", r"mine\.yaml: no word list \(no `classes`\)"),
        ("classes: {gear: [", r"mine\.yaml, line \d+: not YAML"),
        ("classes: {gear: {words: [x, y]}}", r"mine\.yaml: no `common` background words; add"),
        ("{common: on, classes: {gear: {words: [x, y]}}}", r"mine\.yaml: common must be a list of words"),
    ],
)
def test_a_faulty_list_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    config = TextConfig(words=lists(tmp_path, text), words_per_class=2)
    with pytest.raises(MethodError, match=message) as error:
        resolve_texts("method.ca_cl", config, view("folder", ("gear",)), BOTH)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TextConfig(prompts=("a photo.",)), r"text\.prompts: prompt 'a photo\.' must have \{\} once"),
        (TextConfig(prompts=()), r"text\.prompts: no prompt"),
        (TextConfig(prompts_file="absent.txt"), r"cannot read absent\.txt"),
        (TextConfig(words="absent.yaml"), r"cannot read absent\.yaml"),
        (TextConfig(names=("player",)), r"text\.names: 'player' must be class=text"),
    ],
)
def test_faulty_settings(config: TextConfig, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        resolve_texts("method.ca_cl", config, view("voc2012", ("person",)), BOTH)
