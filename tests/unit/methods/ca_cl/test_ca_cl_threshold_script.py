"""The script that prints θ's course at paper scale."""

from __future__ import annotations

import pytest

from scripts import ca_cl_threshold


def test_it_prints_the_course_of_one_threshold_and_of_one_for_each_class(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """θ rises from .26; those of each class, at as many times the rate, rise as far but for what is drawn."""
    ca_cl_threshold.main(["--presets", "paper", "--means", "0.19", "--iterations", "300"])
    heads, _, *lines = capsys.readouterr().out.strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (heads, *lines)]
    assert [row[:4] for row in cells[1:]] == [
        ["paper", "one", "1e-08", "0.19"],
        ["paper", "of each class", "2e-07", "0.19"],
    ]
    one, each = ([float(cell) for cell in row[4:-1]] for row in cells[1:])
    assert one[0] == each[0] == 0.26
    assert one[-1] > 0.2605
    assert each[-1] == pytest.approx(one[-1], abs=2e-4)
    assert [row[-1] for row in cells[1:]] == ["–", "–"]


def test_a_larger_rate_takes_it_to_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    ca_cl_threshold.main(
        ["--presets", "paper", "--means", "0.21", "--learning-rate", "1e-5", "--iterations", "60"]
    )
    one = capsys.readouterr().out.strip().splitlines()[2].split("|")
    assert one[-3].strip() == "0.3000"
    assert int(one[-2]) < 60
