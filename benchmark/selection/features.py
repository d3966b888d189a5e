"""From evidence by image to a few numbers for each artifact and threshold, each larger where maps are better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FEATURES = {
    "agreement": "agreement with the consensus of the other methods",
    "kept": "classifier's score of the foreground alone",
    "lost": "classifier's score lost with the foreground hidden",
    "colour": "colour variance explained by the split",
    "edge": "gradient on borders over the mean gradient",
    "area": "classes as large as in the consensus",
    "tidy": "few pieces for each object class",
    "found": "labels that have a region",
    "within": "foreground of the image's labels",
}
"""Names and meaning. All are expected to rise with the mIoU; the model is not let to use them otherwise."""
UNIT = ["split", "kind", "entry", "method", "seed", "key", "threshold"]
"""What a row of `features` is of."""


def features(evidence: pd.DataFrame) -> pd.DataFrame:
    """Means over images, then over classes, by artifact and threshold: columns `UNIT`, `FEATURES` and product.

    Classes count alike, as in the mIoU. The background counts as a class for `agreement`, the others have no value of it.
    product: of kept, lost, colour and edge, by image; of those that there are
    NaN where there is no evidence: no other method to agree with, no classifier.
    """
    factors = evidence[["kept", "lost", "colour", "edge"]]
    product = factors.prod(axis=1, skipna=True).where(factors["colour"].notna())
    rows = evidence.assign(
        product=product,
        tidy=-np.log2(evidence["pieces"]),
        edge=np.log2(evidence["edge"].clip(lower=2.0**-3)),
    )
    values = [name for name in (*FEATURES, "product") if name != "area"]
    means = rows.groupby([*UNIT, "class"], dropna=False)[[*values, "log_area", "log_expected"]].mean()
    means["area"] = -(means["log_area"] - means["log_expected"]).abs()
    found = means.groupby(UNIT, dropna=False)[[*FEATURES, "product"]].mean()
    return found.reset_index()
