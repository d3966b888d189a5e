"""Layouts with a label file: it lists the images, or says more of those in class folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.base import DataError, Sample
from datasets.files.listing import PICTURES, first_names, pictures_below
from datasets.folder.good import GoodNames
from datasets.folder.label_file import LabelFile, read_label_file
from datasets.folder.listing import Listing, require_readable
from datasets.folder.mask_files import masks_by_name, none_is_a_mask
from datasets.folder.mask_like import masks_beside, require_no_masks


def from_label_file(
    file: Path,
    classes: tuple[str, ...] | None,
    images: Path,
    masks: Path,
    allow_empty: bool,
    good: GoodNames,
) -> Listing:
    """The images that a label CSV lists; ids are their paths under `images` without their endings.

    Masks hold class ids: ``<masks>/<id>.png``, or beside the images as `masks_beside` finds them. Raises DataError, with
    the row's number.
    """
    labels = read_label_file(file, classes, allow_empty, good)
    if not images.is_dir():
        raise DataError(f"folder: no image folder {images}; create it or set dataset.images")
    by_path, by_stem = _index_images(images)
    samples: dict[str, Sample] = {}
    first_row: dict[str, int] = {}
    splits: dict[str, str | None] = {}
    for row in labels.rows:
        where = f"{file} row {row.number}"
        name = row.id.removeprefix(f"{images.name}/") if row.id not in by_path else row.id
        candidates = [name] if name in by_path else by_stem.get(name, [])
        if not candidates:
            raise DataError(f"{where}: no image {row.id!r} in {images}; add the image or remove the row")
        if len(candidates) > 1:
            raise DataError(f"{where}: id {row.id!r} fits {first_names(candidates)}; give the ending too")
        path = by_path[candidates[0]]
        require_readable(path, where)
        sample_id = candidates[0][: -len(path.suffix)]
        if sample_id in samples:
            raise DataError(f"{where}: id {row.id!r} repeats row {first_row[sample_id]}; remove one of them")
        first_row[sample_id] = row.number
        samples[sample_id] = Sample(sample_id, path, row.labels)
        splits[sample_id] = row.split
    require_no_masks([s.image for s in samples.values()])
    left_out = (f"{labels.left_out} images of a split named test are left out",) if labels.left_out else ()
    split_by = f"column {labels.split_column}" if labels.split_column else None
    found = masks_by_name(masks)
    kept = {i: _only(found[i], samples[i]) for i in samples if i in found}
    if not kept:
        pairs = masks_beside([path for path in by_path.values() if path.suffix.lower() in PICTURES])
        kept = {i: pairs[s.image] for i, s in samples.items() if s.image in pairs}
    if not kept and (others := pictures_below(masks)):
        raise none_is_a_mask(
            masks, others, f"name each <id>.png, such as {next(iter(samples))}.png, or set dataset.masks"
        )
    layout = f"a label file, {file.name}"
    return Listing(
        file,
        labels.classes,
        samples,
        splits,
        split_by,
        kept,
        layout=layout,
        mask_place=f"{masks}/<id>.png",
        remarks=left_out,
    )


def _only(masks: Sequence[Path], sample: Sample) -> Path:
    """Of masks that fit an image; its own name goes before one with a word at its end."""
    own = [path for path in masks if path.stem == sample.image.stem] or masks
    if len(own) > 1:
        raise DataError(
            f"{sample.image}: {len(own)} masks fit ({first_names(sorted(map(str, own)))}); keep one"
        )
    return own[0]


def _index_images(folder: Path) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """Images by relative path, and relative paths by relative path without the ending."""
    by_path = {p.relative_to(folder).as_posix(): p for p in pictures_below(folder)}
    by_stem: dict[str, list[str]] = {}
    for name, path in by_path.items():
        by_stem.setdefault(name[: -len(path.suffix)], []).append(name)
    return by_path, by_stem


def all_names(file: LabelFile, folders: Sequence[str]) -> tuple[str, ...]:
    """Classes of class folders and of the label file beside them, sorted."""
    return tuple(sorted({*folders, *file.classes}))


def with_more_labels(listing: Listing, file: LabelFile) -> Listing:
    """Images of class folders with the classes that a label file names besides that of their folder.

    listing, file: of the same classes. Ids of the file are paths below the folders' root, with or without endings, or
    names that only one image has. Raises DataError, with the row's number.
    """
    known: dict[str, list[str]] = {}
    for sample_id, sample in listing.samples.items():
        name = sample_id.rsplit("/")[-1]
        for key in dict.fromkeys((sample_id, sample_id + sample.image.suffix, name, sample.image.name)):
            known.setdefault(key, []).append(sample_id)
    samples, splits = dict(listing.samples), dict(listing.splits)
    for row in file.rows:
        where = f"{file.path} row {row.number}"
        fits = known.get(row.id, [])
        if row.id in samples:
            fits = [row.id]
        if not fits:
            raise DataError(
                f"{where}: no image {row.id!r} in the class folders of {listing.source}; add the image or remove the"
                " row"
            )
        if len(fits) > 1:
            raise DataError(f"{where}: id {row.id!r} fits {first_names(fits)}; write the path")
        sample = samples[fits[0]]
        samples[sample.id] = replace(sample, labels=tuple(sorted({*sample.labels, *row.labels})))
        splits[sample.id] = row.split or splits[sample.id]
    split_by = listing.split_by
    if file.split_column and None not in splits.values():
        split_by = f"column {file.split_column}"
    more = sum(len(sample.labels) > 1 for sample in samples.values())
    said = f"{more} images of several classes, by {file.path.name}; their masks hold class ids"
    return replace(
        listing, samples=samples, splits=splits, split_by=split_by, remarks=(*listing.remarks, said)
    )
