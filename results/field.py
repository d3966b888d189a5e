"""What the field reports: one YAML a method in `results/reported/field`, every number with its conditions and source.

A file has `FILE_KEYS` (`arxiv` may be left out) and `results`: each a set of `conditions` (`CONDITIONS`; one that is
left out is unknown), at times a `variant` that says in words what sets it apart and its own `supervision`, and its
`numbers`. A number has `score`
(`SCORES`), `value` (mIoU in percent, as printed) and its source: `source` (`SOURCES`), `where` (table, abstract, section
or file), for second-hand numbers `of` (the paper that prints it), `read` (the day) and `readings` (1, or 2 independent
ones). The same score may be given several times under the same conditions, by sources that disagree: all are kept.
`_template.yaml` is a file to start from.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

from datasets.base import DataError
from results.reported import ReportedNumber

FOLDER = Path(__file__).parent / "reported" / "field"
UNKNOWN = "unknown"
FIRST_YEAR = 2014

SCORES = {
    "cam": ("voc2012", "train", "cam"),
    "pseudo_label": ("voc2012", "train", "pseudo_label"),
    "voc_val": ("voc2012", "val", "segmentation"),
    "voc_test": ("voc2012", "test", "segmentation"),
    "coco_val": ("coco2014", "val", "segmentation"),
}
"""Name of a score -> data set, split and stage that it is the mIoU of."""

SOURCES = ("own paper", "own repository", "second-hand")
SUPERVISION = {
    "I": "image labels",
    "S": "saliency",
    "L": "language (CLIP and the like)",
    "SAM": "a promptable segmentation network",
    "D": "further images or videos",
}
"""Parts of a supervision such as I+S."""

STAGES = ("single", "multi")
FILE_KEYS = ("name", "title", "authors", "venue", "year", "code", "supervision", "stages", "training_free")
_OPTIONAL_KEYS = ("arxiv", "note")
_NUMBER_KEYS = ("score", "value", "source", "where", "read", "readings")


@dataclass(frozen=True)
class Conditions:
    """How a number was made; each "unknown" where it was not found.

    cam_backbone, cam_pretraining: of the classifier ("ResNet-38d", "ImageNet-1k"); "none" where nothing is trained
    refiner:        between CAM and pseudo-label ("PSA", "IRN", "CRF", "none")
    segmenter:      "DeepLab V1", "DeepLab V2", "DeepLab V3+", "UPerNet", or the decoder of a single-stage method
    segmenter_backbone, segmenter_initialisation: its trunk, and the weights that it starts from ("ImageNet-1k",
                    "ImageNet-21k", "COCO masks")
    test_scales:    "one" or "several"; test_mirror, test_crf: "yes" or "no"
    """

    cam_backbone: str = UNKNOWN
    cam_pretraining: str = UNKNOWN
    refiner: str = UNKNOWN
    segmenter: str = UNKNOWN
    segmenter_backbone: str = UNKNOWN
    segmenter_initialisation: str = UNKNOWN
    test_scales: str = UNKNOWN
    test_mirror: str = UNKNOWN
    test_crf: str = UNKNOWN


CONDITIONS = tuple(field.name for field in fields(Conditions))
_ALLOWED = {"test_scales": ("one", "several"), "test_mirror": ("yes", "no"), "test_crf": ("yes", "no")}


@dataclass(frozen=True)
class Number:
    """A printed mIoU. value: in percent; of: the paper that prints it where that is not the method's own; note: what
    is odd about it"""

    score: str
    value: float
    source: str
    where: str
    read: datetime.date
    readings: int
    of: str = ""
    note: str = ""


@dataclass(frozen=True)
class Result:
    """Numbers under the same conditions. supervision: the method's where a file gives the result none of its own"""

    conditions: Conditions
    numbers: tuple[Number, ...]
    variant: str = ""
    supervision: str = "I"

    def of(self, score: str) -> tuple[Number, ...]:
        """Those of a score, from the method's own sources first."""
        return tuple(
            sorted((n for n in self.numbers if n.score == score), key=lambda n: SOURCES.index(n.source))
        )


@dataclass(frozen=True)
class FieldMethod:
    """A published method. key: name of its file; code: an address, "none" or "unknown"; stages: one of `STAGES`"""

    key: str
    name: str
    title: str
    authors: str
    venue: str
    year: int
    code: str
    supervision: str
    stages: str
    training_free: bool
    results: tuple[Result, ...]
    arxiv: str = ""
    note: str = ""

    def best(self, score: str) -> float:
        """Its highest number of a score, from any source; 0 where there is none."""
        return max((n.value for result in self.results for n in result.of(score)), default=0.0)


def load_field(folder: Path = FOLDER) -> tuple[FieldMethod, ...]:
    """All methods of a folder's files, by year and name. Raises DataError with the first fault."""
    methods, faults = read_field(folder)
    if faults:
        raise DataError(faults[0])
    return methods


def read_field(folder: Path = FOLDER) -> tuple[tuple[FieldMethod, ...], list[str]]:
    """The methods of the files that are right, and a line for each fault of the others."""
    methods: list[FieldMethod] = []
    faults: list[str] = []
    for path in sorted(folder.glob("[!_]*.yaml")):
        try:
            methods.append(_method(path))
        except DataError as error:
            faults.append(str(error))
    faults += [
        f"{other.key}.yaml: {what} {getattr(other, what)!r} is that of {one.key}.yaml too"
        for one, other in combinations(methods, 2)
        for what in ("name", "title")
        if getattr(one, what).casefold() == getattr(other, what).casefold()
    ]
    return tuple(sorted(methods, key=lambda m: (m.year, m.name.casefold()))), faults


def _method(path: Path) -> FieldMethod:
    import yaml

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    _require(path.name, document, (*FILE_KEYS, "results"), _OPTIONAL_KEYS)
    found: dict[str, Any] = {key: document[key] for key in (*FILE_KEYS, *_OPTIONAL_KEYS) if key in document}
    for key in ("name", "title", "authors", "venue", "code"):
        if not isinstance(found[key], str) or not found[key].strip():
            raise DataError(f"{path.name}: {key} should be text, not {found[key]!r}")
    for person in found["authors"].split(" and "):
        if not re.fullmatch(r"[^,{}\\]+, [^,{}\\]+|others", person.strip()):
            raise DataError(f"{path.name}: author {person.strip()!r}; write Last, First and Last, First")
    if not isinstance(found["year"], int) or not FIRST_YEAR <= found["year"] <= datetime.date.today().year:
        raise DataError(f"{path.name}: year {found['year']!r}; from {FIRST_YEAR} to this year")
    supervision = _supervision(path.name, found["supervision"])
    if found["stages"] not in STAGES:
        raise DataError(f"{path.name}: stages {found['stages']!r}; one of {', '.join(STAGES)}")
    if not isinstance(found["training_free"], bool):
        raise DataError(f"{path.name}: training_free {found['training_free']!r}; true or false")
    if found["code"] not in ("none", UNKNOWN) and not found["code"].startswith("https://"):
        raise DataError(f"{path.name}: code {found['code']!r}; an https address, none, or unknown")
    if not isinstance(document["results"], list) or not document["results"]:
        raise DataError(f"{path.name}: results should be a list of at least one")
    results = tuple(
        _result(f"{path.name}, result {i}", part, supervision)
        for i, part in enumerate(document["results"], 1)
    )
    alike = [(r.conditions, r.variant) for r in results]
    if len(set(alike)) < len(alike):
        raise DataError(
            f"{path.name}: two results under equal conditions; join them, or give each its variant"
        )
    found["arxiv"] = str(found.get("arxiv", ""))
    return FieldMethod(path.stem, results=results, **found)


def _supervision(where: str, said: Any) -> str:
    parts = said.split("+") if isinstance(said, str) else []
    if parts[:1] != ["I"] or set(parts) - set(SUPERVISION) or len(set(parts)) < len(parts):
        raise DataError(f"{where}: supervision {said!r}; I, or I+ and any of {', '.join([*SUPERVISION][1:])}")
    return "+".join(parts)


def _result(where: str, part: Any, supervision: str) -> Result:
    _require(where, part, ("conditions", "numbers"), ("variant", "supervision"))
    _require(f"{where}, conditions", part["conditions"], (), CONDITIONS)
    conditions = {}
    for key, value in part["conditions"].items():
        text = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        allowed = _ALLOWED.get(key)
        if not isinstance(text, str) or not text or (allowed and text not in (*allowed, UNKNOWN)):
            raise DataError(
                f"{where}: {key} {value!r}" + (f"; one of {', '.join(allowed)}" if allowed else "")
            )
        conditions[key] = text
    if not isinstance(part["numbers"], list) or not part["numbers"]:
        raise DataError(f"{where}: numbers should be a list of at least one")
    numbers = tuple(_number(f"{where}, number {i}", n) for i, n in enumerate(part["numbers"], 1))
    seen = [(n.score, n.source, n.of) for n in numbers]
    if len(set(seen)) < len(seen):
        raise DataError(
            f"{where}: a source gives the same score twice; their conditions differ, so make two results"
        )
    supervision = _supervision(where, part.get("supervision", supervision))
    return Result(Conditions(**conditions), numbers, part.get("variant", ""), supervision)


def _number(where: str, part: Any) -> Number:
    second_hand = isinstance(part, Mapping) and part.get("source") == SOURCES[-1]
    _require(where, part, (*_NUMBER_KEYS, *(["of"] if second_hand else [])), ("note",))
    if part["score"] not in SCORES:
        raise DataError(f"{where}: score {part['score']!r}; one of {', '.join(SCORES)}")
    if part["source"] not in SOURCES:
        raise DataError(f"{where}: source {part['source']!r}; one of {', '.join(SOURCES)}")
    value = part["value"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 5 <= value <= 100:
        raise DataError(f"{where}: value {value!r}; a mIoU in percent, from 5 to 100")
    if part["readings"] not in (1, 2):
        raise DataError(f"{where}: readings {part['readings']!r}; 1, or 2 independent ones")
    read = part["read"]
    if not isinstance(read, datetime.date) or read > datetime.date.today():
        raise DataError(f"{where}: read {read!r}; the day it was read, such as 2026-12-01")
    for key in ("where", *(["of"] if second_hand else [])):
        if not isinstance(part[key], str) or not part[key].strip():
            raise DataError(f"{where}: {key} {part[key]!r}; name the table, section, abstract or file")
    return Number(
        part["score"],
        float(value),
        part["source"],
        part["where"],
        read,
        part["readings"],
        part.get("of", ""),
        part.get("note", ""),
    )


def _require(where: str, found: Any, needed: Sequence[str], allowed: Sequence[str] = ()) -> None:
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: {found!r} should have {', '.join((*needed, *allowed))}")
    if missing := [key for key in needed if key not in found]:
        raise DataError(f"{where}: {missing[0]} is missing")
    if unknown := [key for key in found if key not in (*needed, *allowed)]:
        raise DataError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join((*needed, *allowed))}")


@dataclass(frozen=True)
class Pair:
    """Two numbers of one paper that differ in one known condition alone."""

    method: str
    score: str
    condition: str
    before: str
    after: str
    low: float
    high: float
    where: str

    @property
    def difference(self) -> float:
        return self.high - self.low


def pairs(methods: Sequence[FieldMethod]) -> list[Pair]:
    """The same method under two conditions, as its own paper or repository prints them.

    Both results know the condition and nothing else of what either knows differs. `low` belongs to `before`, the
    condition that comes first by name, so the same pair of conditions has the same direction in all methods.
    """
    found = []
    for method in methods:
        for one, other in combinations(method.results, 2):
            if one.variant != other.variant:  # which says in words what else differs
                continue
            differing = [c for c in CONDITIONS if getattr(one.conditions, c) != getattr(other.conditions, c)]
            if len(differing) != 1 or UNKNOWN in (getattr(r.conditions, differing[0]) for r in (one, other)):
                continue
            first, second = sorted((one, other), key=lambda r: str(getattr(r.conditions, differing[0])))
            for score in SCORES:
                for a in first.of(score):
                    for b in second.of(score):
                        if a.source == b.source != SOURCES[-1]:
                            where = a.where if a.where == b.where else f"{a.where}; {b.where}"
                            was, became = (getattr(r.conditions, differing[0]) for r in (first, second))
                            found.append(
                                Pair(method.name, score, differing[0], was, became, a.value, b.value, where)
                            )
    return found


@dataclass(frozen=True)
class Conflict:
    """A method's number here that no table of the papers in `results/reported` agrees with, though some print it."""

    method: str
    score: str
    here: float
    source: str
    reported: float
    where: str


def conflicts(methods: Sequence[FieldMethod], numbers: Sequence[ReportedNumber]) -> list[Conflict]:
    """Scores of methods by name that differ from the papers' tables; one that agrees with any number here is none."""
    found = []
    names = {method.name.casefold(): method for method in methods}
    for number in numbers:
        method = names.get(number.method.casefold())
        place = (number.dataset, number.split, number.stage)
        score = next((s for s, meant in SCORES.items() if meant == place), "")
        if method is None or number.variant or number.metric != "miou" or number.class_name or not score:
            continue
        own = [n for result in method.results for n in result.of(score)]
        if own and all(abs(n.value - number.printed) > 0.051 for n in own):
            nearest = min(own, key=lambda n: abs(n.value - number.printed))
            where = f"{number.paper}, {number.table}"
            found.append(Conflict(method.name, score, nearest.value, nearest.source, number.printed, where))
    return list(dict.fromkeys(found))


_PROCEEDINGS = {
    "CVPR": "Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    "ICCV": "Proceedings of the IEEE/CVF International Conference on Computer Vision",
    "ECCV": "European Conference on Computer Vision",
    "NeurIPS": "Advances in Neural Information Processing Systems",
    "AAAI": "Proceedings of the AAAI Conference on Artificial Intelligence",
    "WACV": "Proceedings of the IEEE/CVF Winter Conference on Applications of Computer Vision",
    "BMVC": "British Machine Vision Conference",
    "ACM MM": "Proceedings of the ACM International Conference on Multimedia",
    "ICLR": "International Conference on Learning Representations",
    "ICML": "International Conference on Machine Learning",
    "ACCV": "Asian Conference on Computer Vision",
    "SMC": "Proceedings of the IEEE International Conference on Systems, Man, and Cybernetics",
}
_JOURNALS = {
    "TPAMI": "IEEE Transactions on Pattern Analysis and Machine Intelligence",
    "TIP": "IEEE Transactions on Image Processing",
    "IJCV": "International Journal of Computer Vision",
    "TMM": "IEEE Transactions on Multimedia",
    "TNNLS": "IEEE Transactions on Neural Networks and Learning Systems",
    "TCSVT": "IEEE Transactions on Circuits and Systems for Video Technology",
    "PR": "Pattern Recognition",
    "Access": "IEEE Access",
    "EAAI": "Engineering Applications of Artificial Intelligence",
    "AES": "Acta Electronica Sinica",
    "JIG": "Journal of Image and Graphics",
    "JoS": "Journal of Software",
}


def bibtex(method: FieldMethod) -> str:
    """Its BibTeX entry, of the key `citation_key`."""
    if method.venue in _PROCEEDINGS:
        kind, where = "inproceedings", ("booktitle", _PROCEEDINGS[method.venue])
    elif method.venue == "arXiv":
        kind, where = "misc", ("howpublished", f"arXiv:{method.arxiv}" if method.arxiv else "arXiv")
    else:
        kind, where = "article", ("journal", _JOURNALS.get(method.venue, method.venue))
    lines = [("author", method.authors), ("title", f"{{{method.title}}}"), where, ("year", str(method.year))]
    body = "".join(f"  {name} = {{{_tex(value)}}},\n" for name, value in lines)
    return f"@{kind}{{{citation_key(method)},\n{body}}}\n"


def citation_key(method: FieldMethod) -> str:
    return f"{''.join(c for c in method.key if c.isalnum())}{method.year}"


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)


def rows(methods: Sequence[FieldMethod]) -> Iterator[dict[str, Any]]:
    """A dict for every number: the method's facts, the conditions, the number and its source."""
    for method in methods:
        facts = {key: getattr(method, key) for key in ("key", *FILE_KEYS)}
        for result in method.results:
            facts["supervision"] = result.supervision
            conditions = {name: getattr(result.conditions, name) for name in CONDITIONS}
            for n in result.numbers:
                number = {
                    "score": n.score,
                    "value": n.value,
                    "source": n.source,
                    "where": n.where,
                    "of": n.of,
                }
                yield (
                    facts
                    | {"variant": result.variant}
                    | conditions
                    | number
                    | {
                        "read": n.read.isoformat(),
                        "readings": n.readings,
                    }
                )
