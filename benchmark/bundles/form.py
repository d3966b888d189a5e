"""The form of a submission, `submission.yaml`: who, what, with what."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from datasets.base import DataError
from datasets.files.listing import text_of

LONGEST = 500
"""Characters of an answer."""
TEMPLATE = """\
# Who made these runs, and with what. Text, on one line each; `paper` and `code` are addresses, "" where there is none.
submitter: ""
affiliation: ""
contact: ""  # shown on the leaderboard
paper: ""
code: ""
hardware: ""  # such as "4 x A100 80 GB"
hours: 0  # GPU hours of all runs together
masks_used: ""  # for what pixel masks were used besides scoring; "nothing" where for nothing
remarks: ""
"""


@dataclass(frozen=True)
class SubmissionForm:
    """Answers of a submission; see `TEMPLATE`. hours: GPU hours, 0 where unknown."""

    submitter: str
    affiliation: str
    contact: str
    paper: str
    code: str
    hardware: str
    hours: float
    masks_used: str
    remarks: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


REQUIRED = ("submitter", "hardware", "masks_used")


def read_form(text: str, source: str) -> SubmissionForm:
    """The form in a YAML text. Raises DataError in one line: what is missing, unknown or of another type.

    source: where the text is from, for the message
    """
    try:
        for number, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("an alias, such as *name, may grow beyond all bounds; write the text itself")
            if isinstance(event, yaml.CollectionStartEvent) and number > 2:  # parsing of many takes hours
                raise ValueError("an answer is no text but a list or has keys of its own")
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: no YAML ({reason:.200})") from None
    if not isinstance(document, dict):
        raise DataError(
            f"{source}: must be keys and values; move it away, and `bundle --form FILE` writes an empty form"
        )
    names = [each.name for each in fields(SubmissionForm)]
    if unknown := [str(key) for key in document if key not in names]:
        raise DataError(f"{source}: unknown key {unknown[0]!r:.60}; known are {', '.join(names)}")
    if missing := [name for name in names if name not in document and name != "remarks"]:
        raise DataError(f'{source}: {missing[0]} is missing; give it, or "" where there is none')
    for name, value in document.items():
        if name == "hours":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e7:
                raise DataError(f"{source}: hours is {value!r:.60}; give a number of at least 0")
        elif not isinstance(value, str) or "\n" in value.strip() or len(value) > LONGEST:
            raise DataError(f"{source}: {name} must be one line of text of at most {LONGEST} characters")
    if empty := [name for name in REQUIRED if not document[name].strip()]:
        raise DataError(f"{source}: {empty[0]} is empty; fill it in")
    for name in ("paper", "code"):
        if (address := document[name]) and not is_address(address, "https?"):
            raise DataError(f"{source}: {name} is {address!r:.80}; give an address that begins with https://")
    return SubmissionForm(**document)


def is_address(text: str, scheme: str = "https") -> bool:
    """Whether a text is an address that a page can link to as it is."""
    return bool(re.fullmatch(scheme + r"""://[^\s"'<>`]+""", text)) and text.isprintable()


def form_at(path: Path) -> SubmissionForm:
    """The form in a file. DataError as `read_form`, and where there is no file."""
    try:
        text = text_of(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); move it away, and "
            f"`bundle --form {shlex.quote(str(path))}` writes an empty form"
        ) from None
    return read_form(text, str(path))
