"""Writes the pages of methods and refiners from their declarations when a build starts.

A method's page has, in this order: what its README says, its stages, its settings, the sources of their values, its
deviations, its experiments with the rows of `results/measured`, and the numbers that papers report (`results/reported`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

import datasets
from benchmark.experiments.diagnoses import diagnoses_of, diagnosis_of
from datasets.base import TrainingView
from datasets.drawing.generated import GeneratedDataset
from methods.base import Deviation, Method, Shared, Stage, Supervision
from methods.experiment import Experiment
from methods.refiners.config import REFINER_SUMMARIES, RefinerConfig
from methods.registry import all_methods, find_method
from methods.setting_rows import SettingRow, setting_rows
from methods.sources import CHOSEN_BY, counted, is_paper, paper_sources, repository
from results.directions import MISSED, VERDICTS
from results.reported import reported_of

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "methods" / "generated"
MEASURED = ROOT / "results" / "measured"
REPORTED = ROOT / "results" / "reported"
SUPERVISION = {
    Supervision.LABELS: "image labels",
    Supervision.SALIENCY: "saliency maps",
    Supervision.TEXT: "text (CLIP)",
    Supervision.SAM: "SAM",
    Supervision.MASKS: "pixel masks",
}
SHARED_PARTS = ("refiner", "segmenter")
"""Settings of these parts are long and alike in all methods, so they have tables of their own."""


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", lambda app: write_pages())
    return {"parallel_read_safe": True}


def write_pages() -> None:
    """Write all pages; a page that has not changed keeps its time, so that Sphinx does not read it again."""
    pages = {name: method_page(method) for name, method in all_methods().items() if is_ours(method)}
    pages["refiners"] = refiners_page()
    OUTPUT.mkdir(exist_ok=True)
    for path in OUTPUT.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    files = {f"{name}.md": page for name, page in pages.items()}
    verdicts = table(["verdict", "meaning"], [[verdict, text(said)] for verdict, said in VERDICTS.items()])
    for name, content in {**files, "table.inc": methods_table(), "verdicts.inc": verdicts}.items():
        path = OUTPUT / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


def is_ours(method: Method) -> bool:
    """Whether the method is one of this repository's; plug-ins document themselves."""
    return type(method).__module__.split(".")[0] == "methods"


def methods_table() -> str:
    rows = [
        [
            f"[`{m.name}`](generated/{m.name}.md)",
            supervision(m),
            text(m.summary),
            "yes" if m.default else "by name",
        ]
        for m in all_methods().values()
        if is_ours(m)
    ]
    return table(["method", "supervision", "what it is", "in `--methods all`"], rows)


def method_page(method: Method) -> str:
    title, introduction, sections = readme(ROOT / "methods" / method.name / "README.md")
    facts = {
        "Paper": text(method.paper),
        "Supervision": supervision(method),
        "Needs": text(method.needs),
        "Run it": f"`python -m benchmark run --methods {method.name}`",
    }
    parts = [
        f"# {title}",
        introduction,
        "\n\n".join(f"{name}\n: {value}" for name, value in facts.items()),
        sections,
        stages_section(method),
        settings_section(method),
        sources_section(method),
        deviations_section(method),
        experiments_section(method),
        reported_section(method),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def refiners_page() -> str:
    title, introduction, sections = readme(ROOT / "methods" / "refiners" / "README.md")
    parts = [f"# {title}", introduction, sections, "## Deviations"]
    method, view = find_method("cam"), example_view()
    for name, summary in REFINER_SUMMARIES.items():
        stages = method.stages(method.presets["paper"], view, Shared(refiner=RefinerConfig(name)))
        own = list(dict.fromkeys(d for s in stages if s.name != "predict" for d in s.deviations))
        if own:
            parts += [f"### `{name}`: {summary}", deviations_table(own)]
    return "\n\n".join(filter(None, parts)) + "\n"


def readme(path: Path) -> tuple[str, str, str]:
    """Title, text before the first section, and the sections, without the one that points to this site."""
    title, _, body = path.read_text(encoding="utf-8").removeprefix("# ").partition("\n")
    body = re.sub(r"\n## More\n.*?(?=\n## |\Z)", "", body, flags=re.DOTALL)
    introduction, heading, sections = body.partition("\n## ")
    return title.strip(), introduction.strip(), (heading + sections).strip()


def example_view() -> TrainingView:
    """VOC without an image: what planning a method's stages needs to know of the data."""
    voc = datasets.dataset_class("voc2012")
    return TrainingView(voc.name, voc.classes, {"train": (), "val": ()})  # type: ignore[arg-type]


def planned_stages(method: Method) -> Sequence[Stage]:
    return method.stages(method.presets["paper"], example_view(), Shared())


def stages_section(method: Method) -> str:
    rows = [
        [
            f"`{stage.name}`",
            ", ".join(f"`{name}`" for name in stage.inputs.values()) or "–",
            f"`{stage.yields}`",
            f"`{stage.run}`",
        ]
        for stage in planned_stages(method)
    ]
    return "## Stages\n\nAt paper scale, in the order in which they run.\n\n" + table(
        ["stage", "made from", "yields", "function"], rows
    )


def settings_section(method: Method) -> str:
    rows = setting_rows(method)
    own = [row for row in rows if row.key.partition(".")[0] not in SHARED_PARTS]
    parts = [
        "## Settings",
        f"Written on the command line as `method.{method.name}.KEY=VALUE`. A default is given by "
        "[preset](../../guide/usage.md#three-scales-one-code) where presets differ. `python -m benchmark list --settings "
        f"{method.name}` prints the same.",
        settings_table(own),
    ]
    for part in SHARED_PARTS:
        of_part = [row for row in rows if row.key.partition(".")[0] == part]
        if of_part:
            parts += [f"### `{part}.*`", settings_table(of_part)]
    return "\n\n".join(parts)


def settings_table(rows: Sequence[SettingRow]) -> str:
    cells = [
        [
            f"`{row.key}`<br>{text(', '.join(filter(None, [row.type, row.limits])))}",
            "<br>".join(f"`{v}`{of}" for v, of in map(split_default, row.default.split("; "))),
            text(row.meaning),
        ]
        for row in rows
    ]
    return f":::{{container}} settings\n{table(['setting', 'default', 'meaning'], cells)}\n:::"


def split_default(said: str) -> tuple[str, str]:
    """The value and the presets of one part of `SettingRow.default`: ("0.4", " (nano)")."""
    value, bracket, presets = said.partition(" (")
    return value.replace("`", "'"), text(bracket + presets)


def sources_section(method: Method) -> str:
    """Every value of paper scale with who chose it and where that is said; the number of values by who chose them."""
    rows = setting_rows(method)
    parts: dict[str, list[SettingRow]] = {part: [] for part in ("", *SHARED_PARTS)}
    for row in rows:
        first = row.key.partition(".")[0]
        parts[first if first in SHARED_PARTS else ""].append(row)
    parts = {part: of_part for part, of_part in parts.items() if of_part}
    counts = {part: counted(of_part) for part, of_part in parts.items()}
    order = list(CHOSEN_BY)
    chosen = sorted(
        {by for count in counts.values() for by in count}, key=lambda by: (order.index(by.split()[0]), by)
    )
    numbers = [
        [f"`{part}.*`" if part else "the method's own", *(str(count[by] or "–") for by in chosen)]
        for part, count in counts.items()
    ]
    numbers.append(["all", *(str(sum(count[by] for count in counts.values())) for by in chosen)])
    code = repository(method)
    meanings = "; ".join(f"**{by}**: {text(what)}" for by, what in CHOSEN_BY.items())
    found = [
        "## Sources of the values",
        f"Who chose each value of paper scale, and where that is said. {meanings}. A setting counts once for each value "
        "that its presets of VOC, of COCO and of the protocol `unified` have."
        + (f" Files are those of {text(code)}, unless another repository is named." if code else ""),
        table(["number of values", *chosen], numbers),
    ]
    for part, of_part in parts.items():
        if part:
            found.append(f"### Sources of `{part}.*`")
        found.append(sources_table(of_part))
    return "\n\n".join(found)


def sources_table(rows: Sequence[SettingRow]) -> str:
    cells = []
    for row in rows:
        found = paper_sources(row)
        for value, source in found.items():
            presets = [preset for preset, v in row.defaults.items() if v == value and is_paper(preset)]
            of = f" ({', '.join(presets)})" if len(found) > 1 else ""
            shown = f"`{value.replace('`', chr(39))}`{text(of)}"
            cells.append([f"`{row.key}`", shown, source.chosen_by, text(source.text)])
    return f":::{{container}} sources\n{table(['setting', 'value', 'chosen by', 'source'], cells)}\n:::"


def deviations_section(method: Method) -> str:
    stages = planned_stages(method)
    own = dict.fromkeys(method.deviations)
    shared = dict.fromkeys(d for stage in stages for d in stage.deviations if d not in own)
    parts = ["## Deviations"]
    parts.append(deviations_table(own) if own else "None of its own.")
    if shared:
        parts += ["### Of the parts that methods share", deviations_table(shared)]
    return "\n\n".join(parts)


def deviations_table(deviations: Iterable[Deviation]) -> str:
    rows = [[text(x) for x in (d.topic, d.paper, d.code, d.ours, d.why)] for d in deviations]
    return table(["", "paper", "reference code", "here", "why"], rows)


def experiments_section(method: Method) -> str:
    if not method.experiments:
        return ""
    parts = [
        "## Experiments",
        "Each is a table of the paper, run by one command. [Reproduction](../../results/reproduction.md) says how the "
        "rows are compared and what the verdicts mean.",
    ]
    for experiment in method.experiments:
        parts += experiment_parts(method, experiment)
    return "\n\n".join(parts)


def experiment_parts(method: Method, experiment: Experiment) -> Iterator[str]:
    yield f"### `{method.name}/{experiment.name}`: {text(experiment.title)}"
    scales = [row.scales for row in experiment.rows if not row.unavailable]
    options = [
        f"--scale {scales[0][0]}" if all(len(each) == 1 for each in scales) else "",
        f"--dataset {experiment.dataset}" if is_drawn(experiment.dataset) else "",
        "--seeds 0,1,2",
    ]
    command = " ".join(filter(None, [f"--experiment {method.name}/{experiment.name}", *options]))
    yield f"```bash\npython -m benchmark run {command}\n```"
    rows = []
    for row in experiment.rows:
        settings = ", ".join(f"`{s}`" for s in row.settings) or "–"
        remark = row.unavailable or (f"at scale {', '.join(row.scales)}" if row.scales else "")
        of = f"`{row.method}`" if row.method else f"`{method.name}`"
        rows.append([text(row.label), "–" if row.unavailable else of, settings, text(remark)])
    yield table(["row", "method", "settings", "remark"], rows)
    for folder in sorted(path for path in MEASURED.iterdir() if path.is_dir()):
        path = folder / "tables" / f"{method.name}-{experiment.name}.csv"
        if path.is_file():
            yield measured_table(path)
            yield verdicts_table(method, experiment, folder)


def is_drawn(dataset: str) -> bool:
    """Whether the project draws the data itself, so that a command can name it without a path."""
    return dataset in datasets.names() and issubclass(datasets.dataset_class(dataset), GeneratedDataset)


def measured_table(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    rows = [
        [
            text(row["row"]),
            text(row["column"]),
            text(row["threshold rule"]),
            number(row["paper"]),
            number(row["mean"]) + (f" ± {float(row['deviation']):.2f}" if row["deviation"] else ""),
            row["seeds"],
        ]
        for row in found
        if row["mean"]
    ]
    if not rows:
        return f"**Measured:** no row; {text(found[0]['reason'])}."
    return f"**Measured** ({text(found[0]['conditions'])}):\n\n" + table(
        ["row", "column", "threshold", "paper", "mean ± SD here", "seeds"], rows
    )


def verdicts_table(method: Method, experiment: Experiment, folder: Path) -> str:
    """Those of `summary.csv` that were run, with the diagnoses that the method has now."""
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        found = [
            row
            for row in csv.DictReader(file)
            if row["experiment"] == f"{method.name}/{experiment.name}" and row["verdict"] != "not run"
        ]
    if not found:
        return ""
    diagnoses = diagnoses_of(method)
    rows = []
    for row in found:
        interval = f"{float(row['low']):+.2f} to {float(row['high']):+.2f}" if row["low"] else "–"
        known = diagnosis_of(diagnoses, folder.name, experiment.name, row["row"], row["column"])
        diagnosis = known if row["verdict"] in MISSED else ""
        ends = [f"{100 * float(end):.0f}" for end in (row["share_low"], row["share_high"]) if end]
        share = f"{100 * float(row['share']):.0f} % ({' to '.join(ends)})" if ends else "–"
        rows.append(
            [
                text(f"{row['better']} against {row['row']}"),
                text(row["column"]),
                row["verdict"],
                signed(row["paper"]),
                signed(row["difference"]),
                interval,
                share,
                row["threshold"] or "–",
                text("; ".join(filter(None, [row["reason"], diagnosis]))),
            ]
        )
    heads = [
        "compared",
        "column",
        "verdict",
        "paper",
        "here",
        "95 % interval",
        "share",
        "threshold",
        "remark",
    ]
    return "**What reproduces** (differences in points):\n\n" + table(heads, rows)


def reported_section(method: Method) -> str:
    """All tables of the method's paper; for a baseline, what papers print of it."""
    path = REPORTED / f"{method.name}.yaml"
    if path.is_file():
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        parts = [
            "## Reported numbers",
            f"As printed in {text(document['source'])}; `results/reported/{path.name}` has them as data.",
        ]
        for printed in document["tables"]:
            parts += reported_table(printed)
        return "\n\n".join(parts)
    numbers = reported_of(method.reported_as) if method.reported_as else ()
    if not numbers:
        return ""
    rows = [
        [
            text(n.paper),
            text(n.table),
            text(", ".join(dict.fromkeys(filter(None, [n.row, n.column])))),
            text(" ".join(filter(None, [n.dataset, n.split]))),
            f"{n.printed:g}",
            text("; ".join(filter(None, [n.note, n.suspicious]))),
        ]
        for n in numbers
    ]
    introduction = f"By the papers that compare with it, where they call it {text(method.reported_as)}:"
    heads = ["paper of", "table", "row, column", "data", "printed", "remark"]
    return f"## Reported numbers\n\n{introduction}\n\n{table(heads, rows)}"


def reported_table(printed: dict[str, Any]) -> Iterator[str]:
    where = " ".join(str(printed[key]) for key in ("dataset", "split") if printed.get(key))
    yield f"### {text(printed['table'])}: {text(printed['title'])}"
    remarks = [
        f"On {where}." if where else "",
        sentence(printed.get("note", "")),
        sentence(printed.get("suspicious", "")),
    ]
    for column in printed["columns"]:
        remarks += [
            f"{column['name']}: {sentence(column[key])}" for key in ("note", "suspicious") if column.get(key)
        ]
    if said := " ".join(filter(None, remarks)):
        yield text(said)
    rows = []
    for row in printed["rows"]:
        label = row.get("row", row.get("method", ""))
        remark = "; ".join(str(row[key]) for key in ("variant", "note", "suspicious") if row.get(key))
        values = ["–" if value is None else f"{value:g}" for value in row["values"]]
        rows.append([text(str(label)), *values, text(remark)])
    heads = ["", *(text(column["name"]) for column in printed["columns"])]
    if any(row[-1] for row in rows):
        yield table([*heads, "remark"], rows)
    else:
        yield table(heads, [row[:-1] for row in rows])


def supervision(method: Method) -> str:
    return " + ".join(SUPERVISION[kind] for kind in Supervision if kind in method.supervision)


def sentence(said: str) -> str:
    return said and said[0].upper() + said[1:].rstrip(".") + "."


def number(said: str) -> str:
    return f"{float(said):.2f}" if said else "–"


def signed(said: str) -> str:
    return f"{float(said):+.2f}" if said else "–"


def text(said: str) -> str:
    """Plain text as Markdown; what is between backticks stays code."""
    parts = said.replace("``", "`").split("`")
    if len(parts) % 2 == 0:  # a backtick alone
        return re.sub(r"([\\*_<>\[\]|$~#`])", r"\\\1", said)
    escaped = [re.sub(r"([\\*_<>\[\]|$~#])", r"\\\1", part) for part in parts[::2]]
    code = [f"`{part}`".replace("|", r"\|") for part in parts[1::2]]
    return "".join(a + b for a, b in zip(escaped, [*code, ""]))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)
