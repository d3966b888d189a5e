"""SAM-fused pseudo-labels (Liu 2025, Eq. 1 to 7) in plain loops, from the specification alone.

What the paper leaves open is an argument, or a set of admissible answers instead of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tests.unit.loop_references.shared import Grid

Pixel = tuple[int, int]
"""(y, x)."""

Labels = list[list[int]]

BACKGROUND, FOREGROUND, NON_SALIENT = "background", "foreground", "non-salient"


# --- P1: class activation maps and class token contrast --------------------------------------------------------


def cam_loop(features: Sequence[Grid], weights: Sequence[Sequence[float]]) -> list[Grid]:
    """Eq. 1, M_c = sum_i W_{c,i} F_i: features (D, h, w), weights (C, D) -> (C, h, w)."""
    height, width = len(features[0]), len(features[0][0])
    return [
        [
            [sum(row[i] * features[i][y][x] for i in range(len(row))) for x in range(width)]
            for y in range(height)
        ]
        for row in weights
    ]


def regions_loop(cam: Grid, low: float, high: float) -> list[list[str]]:
    """A CAM in [0, 1] split by the two thresholds; values at a threshold are nobody's test."""
    return [[FOREGROUND if v > high else BACKGROUND if v < low else NON_SALIENT for v in row] for row in cam]


def projected_loop(token: Sequence[float], matrix: Sequence[Sequence[float]]) -> list[float]:
    """A projection F or G: linear, then L2-normalised."""
    out = [sum(w * t for w, t in zip(row, token)) for row in matrix]
    norm = math.sqrt(sum(v * v for v in out))
    return [v / norm for v in out]


def contrast_loop(
    anchor: Sequence[float],
    positives: Sequence[Sequence[float]],
    negatives: Sequence[Sequence[float]],
    temperature: float,
    epsilon: float,
) -> float:
    """Eq. 2 with the minus sign, one image: -mean over q+ of its share against all q-."""

    def exponential(q: Sequence[float]) -> float:
        return math.exp(sum(a * b for a, b in zip(anchor, q)) / temperature)

    against = sum(exponential(q) for q in negatives)
    total = 0.0
    for q in positives:
        e = exponential(q)
        total -= math.log(e / (e + against + epsilon))
    return total / len(positives)


def moving_average_loop(
    average: Sequence[Sequence[float]], current: Sequence[Sequence[float]], momentum: float
) -> list[list[float]]:
    """G <- rho G + (1 - rho) F."""
    return [[momentum * g + (1 - momentum) * f for g, f in zip(a, b)] for a, b in zip(average, current)]


def mean_token_loop(tokens: Sequence[Sequence[float]], present: Sequence[bool]) -> list[float]:
    """The mean of the present classes' tokens: tokens (C, D)."""
    kept = [token for token, here in zip(tokens, present) if here]
    return [sum(values) / len(kept) for values in zip(*kept)]


# --- P2: prompts -----------------------------------------------------------------------------------------------


def connected_loop(inside: Sequence[Sequence[bool]], diagonal: bool) -> list[list[Pixel]]:
    """Connected regions of a mask, by walking from neighbour to neighbour."""
    height, width = len(inside), len(inside[0])
    seen: set[Pixel] = set()
    out: list[list[Pixel]] = []
    for y in range(height):
        for x in range(width):
            if not inside[y][x] or (y, x) in seen:
                continue
            region, waiting = [], [(y, x)]
            seen.add((y, x))
            while waiting:
                a, b = waiting.pop()
                region.append((a, b))
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        if not diagonal and i * j != 0:
                            continue
                        at = (a + i, b + j)
                        within = 0 <= at[0] < height and 0 <= at[1] < width
                        if within and inside[at[0]][at[1]] and at not in seen:
                            seen.add(at)
                            waiting.append(at)
            out.append(region)
    return out


def positives_loop(cam: Grid, threshold: float, diagonal: bool) -> list[tuple[Pixel, int]]:
    """The peak of every connected high-confidence region of one class's CAM, with the region's area in pixels."""
    inside = [[v >= threshold for v in row] for row in cam]
    out = []
    for region in connected_loop(inside, diagonal):
        peak = region[0]
        for y, x in region:
            if cam[y][x] > cam[peak[0]][peak[1]]:
                peak = (y, x)
        out.append((peak, len(region)))
    return out


def confident_background_loop(cams: Sequence[Grid], threshold: float) -> set[Pixel]:
    """Pixels that no present class claims: the only admissible negative points."""
    height, width = len(cams[0]), len(cams[0][0])
    return {
        (y, x) for y in range(height) for x in range(width) if all(cam[y][x] <= threshold for cam in cams)
    }


# --- P2: views, their mean and its entropy ---------------------------------------------------------------------


def mirrored_loop(image: Grid) -> Grid:
    """Left and right exchanged."""
    width = len(image[0])
    return [[row[width - 1 - x] for x in range(width)] for row in image]


def turned_loop(image: Grid) -> Grid:
    """A quarter turn against the clock: what was the right edge is now the top."""
    height, width = len(image), len(image[0])
    return [[image[x][width - 1 - y] for x in range(height)] for y in range(width)]


def view_loop(image: Grid, mirror: bool, quarter_turns: int) -> Grid:
    """Mirrored first, then turned."""
    out = mirrored_loop(image) if mirror else [list(row) for row in image]
    for _ in range(quarter_turns % 4):
        out = turned_loop(out)
    return out


def point_in_view(point: Pixel, size: tuple[int, int], mirror: bool, quarter_turns: int) -> Pixel:
    """Where a pixel of an (H, W) image lies in a view, found by marking it and looking for the mark."""
    marked = [[1.0 if (y, x) == point else 0.0 for x in range(size[1])] for y in range(size[0])]
    view = view_loop(marked, mirror, quarter_turns)
    return next((y, x) for y, row in enumerate(view) for x, v in enumerate(row) if v == 1.0)


def mean_mask_loop(masks: Sequence[Grid]) -> Grid:
    """Eq. 3: masks of K views, already brought back to the image."""
    height, width = len(masks[0]), len(masks[0][0])
    return [[sum(m[y][x] for m in masks) / len(masks) for x in range(width)] for y in range(height)]


def entropy_loop(mean: Grid) -> Grid:
    """Eq. 4, in nats; 0 log 0 = 0."""

    def term(p: float) -> float:
        return -p * math.log(p) if p > 0 else 0.0

    return [[term(v) + term(1 - v) for v in row] for row in mean]


def weights_loop(entropy: Grid) -> Grid:
    """1 - normalised entropy: 1 where all views agree, 0 where half of them do."""
    return [[1 - v / math.log(2) for v in row] for row in entropy]


# --- P: fusion -------------------------------------------------------------------------------------------------


def agreement_loop(first: Labels, second: Labels) -> list[list[bool]]:
    """Pixels to which P1 and P2 give the same label."""
    return [[a == b for a, b in zip(*rows)] for rows in zip(first, second)]


def fusion_loss_loop(
    logits: Sequence[Grid],
    first: Labels,
    second: Labels,
    weights: Grid,
    counts: Callable[[int], bool] = lambda label: True,
) -> float:
    """Cross-entropy of the label both give, over agreeing pixels, weighted: logits (C + 1, H, W) of one image.

    counts: whether a label takes part (an "ignored" label would not)
    """
    total, weight = 0.0, 0.0
    for y, row in enumerate(agreement_loop(first, second)):
        for x, agrees in enumerate(row):
            if not agrees or not counts(first[y][x]):
                continue
            values = [plane[y][x] for plane in logits]
            log_sum = math.log(sum(math.exp(v) for v in values))
            total += weights[y][x] * (log_sum - values[first[y][x]])
            weight += weights[y][x]
    return total / weight


# --- the paper's metrics ---------------------------------------------------------------------------------------


def accuracy_loop(truth: Labels, prediction: Labels) -> float:
    """ACC over all classes: the share of pixels that are right."""
    pairs = [(a, b) for rows in zip(truth, prediction) for a, b in zip(*rows)]
    return sum(a == b for a, b in pairs) / len(pairs)


def mean_iou_loop(truth: Labels, prediction: Labels, classes: int) -> float:
    """Eq. 6, 7: over the classes 0 to `classes` - 1, all of which occur."""
    pairs = [(a, b) for rows in zip(truth, prediction) for a, b in zip(*rows)]
    total = 0.0
    for c in range(classes):
        both = sum(a == c and b == c for a, b in pairs)
        either = sum(a == c or b == c for a, b in pairs)
        total += both / either
    return total / classes
