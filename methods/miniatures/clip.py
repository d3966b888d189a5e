"""Pretraining of the miniature CLIP: captions of the captioned world, contrastive loss, zero-shot accuracy.

CLIP's loss (Radford et al., ICML 2021) takes every caption of a batch but one for false; here a batch holds several
true ones for each picture, so the target spreads over all of them.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy, grid_sample, interpolate, max_pool2d, normalize

from datasets.pretraining.captions import NOUNS, OBJECTS, STYLES, WORDS
from methods.layers.clip.config import NANO
from methods.layers.clip.nano import (
    IMAGE_SIZE,
    build_clip_nano,
    clip_nano_tokenizer,
    from_shipped_state,
    shipped_state,
)

if TYPE_CHECKING:
    from open_clip import CLIP

TEMPLATES = (
    ("a photo of {}.", STYLES.index("photo")),
    ("an image of {}.", STYLES.index("image")),
    ("a picture of {}.", STYLES.index("picture")),
    ("a snapshot of {}.", STYLES.index("snapshot")),
    ("a clean origami {}.", STYLES.index("origami")),
    ("{}.", -1),
)
"""Prompts, and the style (index into STYLES) of which each speaks; -1: of none."""
ENSEMBLE = tuple(text for text, _ in TEMPLATES[:4])
"""The prompts whose mean embedding stands for a noun in the zero-shot score."""
JOINS = ("{} and {}", "{} with {}", "{} next to {}", "{} on {}")

NAMED_SHARE, SEEN_SHARE = 0.025, 0.005
"""Shares of a picture from which on captions may name a noun, and from which on naming it is true."""
EASY = 0.3
"""Share of the iterations over which views become hard (`random_view`)."""
WRONG_STYLE = 0.3
"""Weight in the target of a true caption whose prompt speaks of another style than the picture's."""


class View(NamedTuple):
    """images (B, 3, 64, 64) in 0..1; shares (B, N): how much of the picture shows each noun, in 0..1."""

    images: torch.Tensor
    shares: torch.Tensor


class Captions(NamedTuple):
    """tokens (C, 16); nouns (C, N), 1 where the caption names the noun; styles (C,), -1: none."""

    tokens: torch.Tensor
    nouns: torch.Tensor
    styles: torch.Tensor


class ClipPretraining(nn.Module):
    """The model with token embeddings of only what captions can say; the others get no gradient anyway."""

    rows: torch.Tensor

    def __init__(self, name: str = NANO) -> None:
        super().__init__()
        self.name = name
        self.model = build_clip_nano(name)
        self.register_buffer("rows", caption_tokens())
        whole = self.model.token_embedding.weight.detach()
        self.model.token_embedding = nn.Embedding.from_pretrained(whole[self.rows], freeze=False)
        self.model.visual.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 16) -> unit embeddings (B, 64).

        `rows` ascends, so the end token keeps the largest number, by which open_clip finds a text's end.
        """
        return normalize(self.model.encode_text(torch.searchsorted(self.rows, tokens)), dim=-1)

    def shipped(self) -> dict[str, torch.Tensor]:
        """The state dict that is kept; `clip_nano.restore_clip_nano` reads it."""
        return shipped_state(self.model, self.rows)


def encode_pictures(model: CLIP, images: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, 64, 64) in 0..1 -> unit embeddings (B, 64); the model's own normalisation is applied."""
    mean = images.new_tensor(model.visual.image_mean).view(3, 1, 1)
    std = images.new_tensor(model.visual.image_std).view(3, 1, 1)
    return normalize(model.encode_image((images - mean) / std), dim=-1)


# ---------------------------------------------------------------- captions


def caption_tokens() -> torch.Tensor:
    """(R,) ascending ids of every token in any caption, padding and both ends included."""
    words = [word for noun in NOUNS for word in WORDS[noun]]
    parts = [*words, *(text.format("") for text, _ in TEMPLATES), *(text.format("", "") for text in JOINS)]
    return clip_nano_tokenizer()(
        [*parts, *(text.format(words[0]) for text, _ in TEMPLATES), "a an the"]
    ).unique()


@lru_cache(maxsize=1 << 16)
def _tokens(caption: str) -> torch.Tensor:
    return clip_nano_tokenizer()(caption)[0]


def _phrase(rng: Random, noun: int) -> str:
    """The noun or another word for it; class names go into prompts without an article, so half have none."""
    words = WORDS[NOUNS[noun]]
    word = words[0] if rng.random() < 0.5 else rng.choice(words)
    if rng.random() < 0.5:
        return word
    if noun < len(OBJECTS) and rng.random() < 0.7:
        return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
    return f"the {word}"


def draw_captions(rng: Random, shares: torch.Tensor, styles: torch.Tensor) -> Captions:
    """Two captions for each picture, in other words: of one or two of the nouns that are large enough in it.

    shares (B, N); styles (B,): the pictures' styles. Captions j and B + j are of picture j. Three prompts in five
    speak of the picture's style.
    """
    named = shares >= NAMED_SHARE
    named[torch.arange(len(shares)), shares.argmax(1)] = True
    nouns, drawn = torch.zeros_like(shares), []
    for i, (candidates, style) in enumerate(zip(named, styles.tolist())):
        possible = candidates.nonzero()[:, 0].tolist()
        chosen = rng.sample(possible, min(len(possible), 2 if rng.random() < 0.3 else 1))
        nouns[i, chosen] = 1.0
        drawn.append((chosen, style))
    tokens, spoken = [], []
    for chosen, style in drawn + drawn:
        text, of_style = TEMPLATES[style] if rng.random() < 0.6 else rng.choice(TEMPLATES)
        phrases = [_phrase(rng, noun) for noun in chosen]
        tokens.append(_tokens(text.format(rng.choice(JOINS).format(*phrases) if phrases[1:] else phrases[0])))
        spoken.append(of_style)
    return Captions(torch.stack(tokens), nouns.repeat(2, 1), torch.tensor(spoken))


# ---------------------------------------------------------------- pictures


def _shares(nouns: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(B, N) mean over the picture of `weight` (B, H, W) at each noun's pixels; nouns (B, H, W)."""
    total = weight.new_zeros(len(nouns), len(NOUNS))
    return total.scatter_add(1, nouns.flatten(1).long(), weight.flatten(1)) / nouns[0].numel()


def whole_view(images: torch.Tensor, nouns: torch.Tensor) -> View:
    """The pictures (B, 3, S, S) as they are, resized."""
    seen = interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    return View(seen, _shares(nouns, torch.ones(nouns.shape)))


def random_view(images: torch.Tensor, nouns: torch.Tensor, progress: float) -> View:
    """Random crops, mirror images and exposures of the pictures (B, 3, S, S), some of them cut out.

    `progress`, 0 to 1, makes views harder: things in random colours on random grounds teach nothing for long, so
    at first each view is a close-up of one noun, which alone is kept (`cut_outs`).
    """
    hard = min(1.0, progress / EASY)
    batch = len(images)
    subject = subjects(nouns)
    close = torch.rand(batch) >= 0.7 * hard
    centre, spread = _extent(nouns == subject[:, None, None])
    near = (spread * torch.empty(batch).uniform_(1.9, 3.0)).clamp(0.25, 1.0)
    zoom = torch.where(close, near, torch.empty(batch).uniform_(0.7, 1.0))
    mirror = torch.where(torch.rand(batch) < 0.5, -1.0, 1.0)
    shift = torch.where(close, centre, torch.empty(2, batch).uniform_(-1.0, 1.0))
    shift = torch.minimum(torch.maximum(shift, zoom - 1.0), 1.0 - zoom)
    steps = torch.linspace(-1.0, 1.0, IMAGE_SIZE)
    rows = (shift[0, :, None] + steps * zoom[:, None])[:, :, None].expand(-1, -1, IMAGE_SIZE)
    columns = (shift[1, :, None] + steps * (zoom * mirror)[:, None])[:, None, :].expand(-1, IMAGE_SIZE, -1)
    grid = torch.stack([columns, rows], dim=-1)
    seen = grid_sample(images, grid, align_corners=True, padding_mode="border")
    seen = (seen - 0.5) * torch.empty(batch, 1, 1, 1).uniform_(0.7, 1.3) + 0.5
    seen = (seen + torch.empty(batch, 1, 1, 1).uniform_(-0.1, 0.1)).clamp(0.0, 1.0)
    what = grid_sample(nouns[:, None].float(), grid, mode="nearest", align_corners=True)[:, 0].long()
    weight = cut_outs(what, subject, hard)
    # Black, or now and then the mean colour, as where a normalised picture is multiplied.
    fill = torch.where(torch.rand(batch) < 0.3, 0.45, 0.0).view(-1, 1, 1, 1)
    return View(fill + (seen - fill) * weight[:, None], _shares(what, weight))


def subjects(nouns: torch.Tensor) -> torch.Tensor:
    """(B,) one of the nouns large enough to be named in each picture (B, H, W), rather an object."""
    enough = _shares(nouns, torch.ones(nouns.shape)) >= NAMED_SHARE
    preference = torch.rand(enough.shape) + (torch.arange(len(NOUNS)) < len(OBJECTS)) * 0.4
    return (preference * enough).argmax(1)


def _extent(present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the pixels of (B, S, S) lie: centre (row, column) (2, B) and larger standard deviation (B,), both in
    coordinates from -1 to 1."""
    steps = torch.linspace(-1.0, 1.0, present.shape[-1])
    weight = present.float() / present.sum((1, 2), keepdim=True)
    along = torch.stack([weight.sum(2), weight.sum(1)])
    centre = along @ steps
    return centre, (along @ steps**2 - centre**2).amax(0).clamp_min(0.0).sqrt()


def cut_outs(nouns: torch.Tensor, subject: torch.Tensor, hard: float) -> torch.Tensor:
    """What remains of each pixel, (B, H, W) in 0..1; nouns (B, H, W), subject (B,).

    hard: at 0 every picture keeps its subject alone, sharply cut. At 1 half of the pictures stay whole; the others
    keep their subject, lose their objects, keep random patches or are dimmed evenly, by edges as sharp or as
    coarse as a CAM's, and what is removed may shine through.
    """
    batch, size = len(nouns), nouns.shape[-1]
    kind = (torch.rand(batch, 1, 1) - 0.5 * hard) / (1.0 - 0.5 * hard)
    keep = (nouns == subject[:, None, None]).float()
    margin = 2 * int(torch.randint(4, ())) + 1
    objects = (nouns < len(OBJECTS)).float()[:, None]
    lose = 1.0 - max_pool2d(objects, margin, stride=1, padding=margin // 2)[:, 0]
    patches = interpolate(torch.rand(batch, 1, 4, 4), size=(size, size), mode="bilinear")[:, 0]
    patches = (6.0 * (patches - 0.5) + 0.5).clamp(0.0, 1.0)
    mask = torch.where(kind < 1.0 - 0.4 * hard, keep, torch.where(kind < 1.0 - 0.2 * hard, lose, patches))
    cell = (1, 2, 4, 8)[int(torch.randint(1 + round(3 * hard), ()))]
    coarse = interpolate(avg_pool2d(mask[:, None], cell), size=(size, size), mode="bilinear")[:, 0]
    leak = hard * torch.empty(batch, 1, 1).uniform_(-0.2, 0.2).clamp_min(0.0)
    peak = torch.empty(batch, 1, 1).uniform_(0.5, 1.2).clamp_max(1.0)
    cut = leak + (peak - leak) * coarse
    return torch.where(kind < 0.0, 1.0, torch.where(kind < 1.0 - 0.1 * hard, cut, peak.expand_as(cut)))


# ---------------------------------------------------------------- loss and score


def contrastive_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy with several true captions a picture, and pictures a caption.

    logits (B, C): pictures x captions; target (B, C): weights >= 0, positive somewhere in each row and column.
    With the identity as target it is CLIP's loss.
    """
    by_picture = cross_entropy(logits, target / target.sum(1, keepdim=True))
    by_caption = cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (by_picture + by_caption) / 2


def caption_target(shares: torch.Tensor, styles: torch.Tensor, captions: Captions) -> torch.Tensor:
    """(B, C) weight of caption j for picture i: 0 if it names what is not there, less in the wrong style.

    shares (B, N), styles (B,); captions: two a picture, as `draw_captions` orders them
    """
    absent = (shares < SEEN_SHARE).float() @ captions.nouns.T
    fits = (captions.styles == -1) | (captions.styles == styles[:, None])
    own = torch.eye(len(shares), dtype=torch.bool).repeat(1, 2)
    return torch.where((absent > 0) & ~own, 0.0, torch.where(fits | own, 1.0, WRONG_STYLE))


def pretraining_loss(
    network: ClipPretraining, images: torch.Tensor, styles: torch.Tensor, nouns: torch.Tensor, progress: float
) -> torch.Tensor:
    """A scalar. images (B, 3, S, S) in 0..1; styles (B,); nouns (B, S, S), indices into NOUNS; progress in 0..1."""
    view = random_view(images, nouns, progress)
    rng = Random(int(torch.randint(1 << 31, ())))
    captions = draw_captions(rng, view.shares, styles)
    scale = network.model.logit_scale.exp().clamp(max=100.0)
    texts = network.encode_text(captions.tokens)
    logits = scale * encode_pictures(network.model, view.images) @ texts.T
    loss = contrastive_loss(logits, caption_target(view.shares, styles, captions))
    early = max(0.0, 1.0 - progress / EASY)
    return loss + early * paraphrase_loss(scale, texts, captions.nouns)


def paraphrase_loss(scale: torch.Tensor, texts: torch.Tensor, nouns: torch.Tensor) -> torch.Tensor:
    """Contrastive loss between captions and their paraphrases: same nouns, same text. A scalar.

    At first the embeddings of all texts coincide, and pictures have nothing to tell apart; this parts them soon.

    texts (2B, 64), nouns (2B, N): caption j's paraphrase is B + j
    """
    half = len(texts) // 2
    same = torch.cdist(nouns[:half], nouns[half:], p=1) < 0.5
    return contrastive_loss(scale * texts[:half] @ texts[half:].T, same.float())


def noun_embeddings(model: CLIP) -> torch.Tensor:
    """(N, 64) unit embeddings of NOUNS: the mean over the ensemble's prompts."""
    tokens = clip_nano_tokenizer()([text.format(noun) for noun in NOUNS for text in ENSEMBLE])
    each = normalize(model.encode_text(tokens), dim=-1)
    return normalize(each.unflatten(0, (len(NOUNS), len(ENSEMBLE))).mean(1), dim=-1)


def zero_shot(model: CLIP, view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """Which nouns of each picture rank first among all those that are not in it: hits, named, both (B, N) bool.

    A picture's other nouns are true too, so they do not compete.
    """
    named, seen = view.shares >= NAMED_SHARE, view.shares >= SEEN_SHARE
    scores = encode_pictures(model, view.images) @ noun_embeddings(model).T
    strongest_absent = scores.masked_fill(seen, -torch.inf).amax(1, keepdim=True)
    return named & (scores > strongest_absent), named


def zero_shot_score(network: ClipPretraining, images: torch.Tensor, nouns: torch.Tensor) -> float:
    """Summed over the pictures, in [0, B]: the share of a picture's nouns that are found, by what is shipped."""
    hits, named = zero_shot(from_shipped_state(network.shipped(), network.name), whole_view(images, nouns))
    return float((hits.sum(1) / named.sum(1).clamp_min(1)).sum())
