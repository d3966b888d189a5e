"""Where the refiners differ from their papers and reference code; their stages carry these to the report."""

from __future__ import annotations

from collections.abc import Mapping

from methods.base import Deviation

_WALK = (
    "T is squared logt times as a dense matrix, by which the scores are multiplied",
    "the scores walk T's sparse form, T^n expanded in Chebyshev polynomials to float32's precision",
    "equal to rounding; time and memory grow with the number of cells, not with its square",
)
_MOMENTUM = (
    "PolyOptimizer passes the weight decay in momentum's place",
    "the code's reading at paper scale; .9 at small, AdamW at nano",
    "the code produced the published numbers; short schedules need real momentum",
)

DEVIATIONS: Mapping[str, tuple[Deviation, ...]] = {
    "psa": (
        Deviation(
            "PSA: pairs at the border",
            "all pairs within the radius (Eq. 4 to 7)",
            "a cell that lacks one of its partners is left out with all its pairs",
            "all pairs inside the picture",
            "as printed; what the code leaves out is most of a small grid",
        ),
        Deviation("PSA: random walk", "T^(2^logt), Eq. 9", *_WALK),
        Deviation(
            "PSA: CAM of a cell at the border",
            "not stated",
            "the CAM is padded with zeros to whole cells, which count in the average",
            "averaged over the pixels inside the picture",
            "the border is not made background by what is not there",
        ),
        Deviation(
            "PSA: label of a cell",
            "not stated",
            "the CRFs' probabilities are averaged over the cell, then compared",
            "the most frequent label of the cell's pixels",
            "label maps are what artifacts hold, and shared augmentation moves them as labels",
        ),
        Deviation(
            "PSA: levels of other backbones",
            "VGG16 and ResNet-38d",
            "both at stride 8, where the levels have one resolution",
            "at small and nano, finer levels are averaged to the last one's cells; the CRF under the labels has a cell "
            "each 2 pixels",
            "their backbones have strides 16 and 4; a CRF on two cores is the scale's longest step",
        ),
        Deviation("PSA: momentum of SGD", "not stated", *_MOMENTUM),
        Deviation(
            "PSA on COCO",
            "VOC alone",
            "starts from a classifier trained on VOC's image labels (res38_cls.pth)",
            "the same weights; 8 epochs, counted on COCO's 82 081 images with an object",
            "there is no such classifier of COCO's; refiner.psa.backbone.weights names another file",
        ),
    ),
    "irn": (
        Deviation(
            "IRNet: last stage of ResNet-50",
            "stride 16",
            "its stride is removed and nothing dilated",
            "its stride is removed and its convolutions dilated, torchvision's option; as in the code with "
            "refiner.irn.backbone.name=resnet50_undilated",
            "keeps the pretrained filters' field of view",
        ),
        Deviation(
            "IRNet: size of the pictures in the walk",
            "not stated",
            "padded to 512 pixels, which cuts larger pictures, COCO's for instance",
            "their own size",
            "no part of a picture is lost",
        ),
        Deviation(
            "IRNet: walked CAM at the picture's size",
            "at the picture's size",
            "enlarged 4 times, bilinearly, then cut to the picture",
            "resized to the picture's exact size, as the CAM was to the walk's cells",
            "the map comes back to where it came from; both differ by less than a cell, at the far border",
        ),
        Deviation("IRNet: random walk", "T^(2^exp_times), Eq. 8", *_WALK),
        Deviation(
            "IRNet: radius and length of the walk",
            "10 in training, 5 and 2^8 steps in the walk, on 125 x 94 cells",
            "as printed",
            "as printed at paper scale; shorter where the grid is smaller (small: 7, 4 and 2^7; nano: 5, 3 and 2^5)",
            "the walk goes as far across the picture",
        ),
        Deviation("IRNet: momentum of SGD", "not stated", *_MOMENTUM),
        Deviation(
            "IRNet on COCO",
            "VOC alone",
            "VOC alone",
            "VOC's settings; 3 epochs, counted on COCO's 82 081 images with an object",
            "the papers that use it on COCO print no others",
        ),
    ),
    "gc": (
        Deviation(
            "GC: features of the neighbours, for CAMs of other methods",
            "of the method's own transformer",
            "not published",
            "of a pretrained backbone, PSA's unless refiner.gc.backbone names another",
            "any CAM can be corrected",
        ),
    ),
}
"""By name of the refiner."""
