"""The command line: what a newcomer is told when something is wrong, and that nothing is a traceback."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from benchmark.commands.arguments import method_names, parse_seeds
from benchmark.failures import ConfigError
from methods.registry import all_methods
from tests.helpers.toys import Toy
from tests.helpers.trees import write_folder


def test_all_is_the_boards_standard_set():
    names = method_names("all")
    assert names == [n for n, m in all_methods().items() if m.default]
    assert {"cam", "eps", "supervised"} <= set(names)


def test_names_are_taken_once_and_in_order():
    assert method_names("eps, cam,eps") == ["eps", "cam"]


def test_others_may_stand_beside_all():
    standard = method_names("all")
    assert method_names("all, toco,cam") == [*standard, "toco"]
    assert method_names("toco,all") == ["toco", *standard]


def test_every_stands_for_all_installed_methods_with_settings_at_the_scale(
    third_party: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    third_party(Toy("mine"))  # which has settings at nano alone
    assert method_names("every") == list(all_methods())
    assert "mine" in method_names("every")
    assert not capsys.readouterr().err
    assert method_names("mine,every", "small") == list(dict.fromkeys(["mine", *all_methods()]))
    assert set(all_methods()) - set(method_names("every", "small")) == {"mine"}
    assert "warning: method mine has no settings at scale small; left out" in capsys.readouterr().err


def test_seeds():
    assert parse_seeds("2, 0,1,2") == [2, 0, 1]


@pytest.mark.parametrize("text", ["", "a", "0,", "-1", "1.5", str(2**32)])
def test_wrong_seeds_are_refused(text):
    with pytest.raises(
        ConfigError, match=r"--seeds .*: write whole numbers from 0 to 4294967295 separated by commas"
    ):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--methods", "esp"], "unknown method 'esp'; did you mean 'eps'?"),
        (["run", "--methods", ","], "--methods names no method"),
        (["run", "--dataset", "shape"], "unknown data set 'shape'; did you mean 'shapes'?"),
        (["run", "--scale", "big"], "unknown scale 'big'"),
        (["run", "--protocol", "papr"], "did you mean 'paper'?"),
        (["run", "--seeds", "x"], "--seeds 'x'"),
        (["run", "--device", "gpu"], "runtime.device=gpu: did you mean 'cpu'? there are auto, cpu, cuda"),
        (["run", "--methods", "cam", "method.cam.trian.iterations=4"], "'method.cam.train.iterations'"),
        (["run", "--dataset", "voc2012"], "voc2012 needs its folder; set dataset.root=PATH"),
        (["run", "--dataset", "voc2012", "dataset.root=/nowhere"], "voc2012: no folder /nowhere"),
        (["run", "--dataset", "folder", "dataset.root=/nowhere"], "folder: no folder /nowhere"),
        (["run", "dataset.train=0"], "dataset.train=0: must be in [1, 1000000]"),
        (["report", "/nowhere"], "/nowhere: not a run folder"),
        (["predict", "--weights", "/nowhere", "--images", "."], "--weights /nowhere: no finished artifact"),
        (["predict", "--images", "."], "give either --run FOLDER"),
        (["predict", "--weights", "x", "--run", "y", "--images", "."], "give either --run FOLDER"),
        (["predict", "--weights", "x", "--seed", "0", "--images", "."], "give --run instead of --weights"),
        (["predict", "--run", "/nowhere", "--images", "."], "/nowhere: not a run folder"),
        (["pretrain", "resnet"], "unknown miniature 'resnet'"),
        (["doctor", "dataset.root=/nowhere"], "say of which data set, with --dataset"),
        (["doctor", "--dataset", "voc"], "did you mean 'voc2012'?"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(command_line, arguments, words):
    done = command_line(*arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert words in done.err


def test_an_unknown_option_shows_the_usage(command_line):
    done = command_line("run", "--method", "eps")
    assert done.code == 2
    assert "--methods" in done.err


def test_list_names_everything_and_what_it_needs(command_line):
    out = command_line("list").out
    for name, method in all_methods().items():
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert ("*" in line.split()) == method.default
        assert method.needs in line
    for word in ("shapes", "voc2012", "folder", "nano", "small", "paper", "unified", "dataset.root=PATH"):
        assert word in out


def test_own_pictures_at_nano_are_warned_of(command_line, third_party, tmp_path):
    """Its networks know generated pictures alone; the command at small is the one given, but for its scale."""
    third_party(Toy("one"))
    root = write_folder(tmp_path / "my data", ["a,rust,train", "b,rust,val"], masks=False)
    given = ("--dataset", "folder", f"dataset.root={root}", "--scale", "nano", "--dry-run")
    (line,) = [x for x in command_line.run_on("one", *given).out.splitlines() if x.startswith("warning: ")]
    command = shlex.split(line.partition("photographs: wsss ")[2])
    assert command[:3] == ["run", "--methods", "one"]
    assert f"dataset.root={root}" in command
    assert command.count("--scale") == 1
    assert command[-2:] == ["--scale", "small"]
    assert "warning" not in command_line.run("one", "--dry-run").out


def test_the_dry_run_says_what_would_be_done_and_does_nothing(command_line, third_party):
    third_party(Toy("one"), Toy("two"))
    arguments = ("--seeds", "0,1", "method.two.value=1")
    done = command_line.run("one,two", *arguments, "--dry-run")
    assert done.code == 0
    assert "4 runs, 4 stages to do; about" in done.out
    assert not command_line.store.exists()
    assert not command_line.output.exists()
    command_line.run("one")
    out = command_line.run("one,two", *arguments, "--dry-run").out
    assert "4 runs, 3 stages to do" in out
    assert out.count("  stored\n") == 1


def test_a_device_set_as_override_holds(command_line, third_party):
    third_party(Toy("one"))
    assert "runtime.device=tpu: " in command_line("run", "--methods", "one", "runtime.device=tpu").err


def test_columns_of_the_list_are_straight_however_long_a_name_is(command_line, third_party):
    third_party(Toy("a_method_with_a_name_of_some_length"))
    lines = command_line("list").out.splitlines()
    columns = {
        line.index(method.summary)
        for name, method in all_methods().items()
        for line in lines
        if line.split()[:1] == [name]
    }
    assert columns == {len("  a_method_with_a_name_of_some_length  ")}


def test_the_settings_of_a_method_are_listed_with_what_there_is_to_know(command_line):
    lines = [line.strip() for line in command_line("list", "--settings", "eps").out.splitlines()]
    start = lines.index("method.eps.overlap_threshold  float, [0, 1]")
    assert lines[start + 1 : start + 4] == [
        "default 0.4",
        "τ of Eq. 2, in [0, 1]",
        "source: paper: Sec. 3.2, τ; [.3, .5] performs alike",
    ]


def test_settings_of_an_unknown_method_are_one_line(command_line):
    assert "did you mean 'eps'?" in command_line("list", "--settings", "epss").err
