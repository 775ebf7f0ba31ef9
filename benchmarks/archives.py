"""The name of a data set flows in; its archives flow out, where they are from, and the grid lines of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
COCO = "http://images.cocodataset.org/zips"
CALVIN = "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset"


@dataclass(frozen=True)
class Archive:
    """One file to have, and where below the root its content goes.

    makes: a file or folder that is there once it is unpacked. address, md5: where it is fetched, if both are known;
    else `by_hand` says how it is had. single: it is no archive, and goes as it is to where `makes` says. train: only
    where the images of training are wanted too.
    """

    name: str
    into: str
    makes: str
    address: str = ""
    md5: str = ""
    by_hand: str = ""
    single: bool = False
    train: bool = False


@dataclass(frozen=True)
class Obtainable:
    """A data set: what the grid calls it, its reader with settings (`root` below the user's), its archives.

    by_hand: what is to be done where there is nothing to unpack.
    """

    called: str
    use: str
    root: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""


_VOC2010 = Archive(
    "VOCtrainval_03-May-2010.tar", "", "VOCdevkit/VOC2010/JPEGImages",
    f"{VOC}/voc2010/VOCtrainval_03-May-2010.tar", "da459979d0c395079b5c75ee67908abb",
)  # fmt: skip
_COCO = (
    Archive("val2017.zip", "coco/images", "coco/images/val2017",
            f"{COCO}/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    Archive("train2017.zip", "coco/images", "coco/images/train2017",
            f"{COCO}/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", train=True),
    Archive("stuffthingmaps_trainval2017.zip", "coco/annotations", "coco/annotations/val2017",
            by_hand=f"{CALVIN}/stuffthingmaps_trainval2017.zip (659 MB; nobody states a checksum of it)"),
)  # fmt: skip

KNOWN: Mapping[str, Obtainable] = {
    "pascal_voc": Obtainable(
        "PAS-20", "benchmarks.pascal_voc:PascalVOC", "VOCdevkit", {"split": "val"},
        (Archive("VOCtrainval_11-May-2012.tar", "", "VOCdevkit/VOC2012/SegmentationClass",
                 f"{VOC}/voc2012/VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),),
    ),
    "pascal_context": Obtainable(
        "PC-59", "benchmarks.pascal_context:PascalContext", "VOCdevkit", {"split": "val", "layout": "json"},
        (_VOC2010,
         Archive("trainval_merged.json", "VOCdevkit/VOC2010", "VOCdevkit/VOC2010/trainval_merged.json", single=True,
                 md5="3c2d0c0656b7be9eb61928ffe885d8ce", by_hand="PASCAL in Detail's annotations, "
                 "https://github.com/zhanghang1989/detail-api names where they lie")),
    ),
    "pascal_context_full": Obtainable(
        "PC-459", "benchmarks.pascal_context_full:PascalContextFull", "VOCdevkit", {"split": "val", "layout": "mat"},
        (_VOC2010,
         Archive("trainval.tar.gz", "VOCdevkit/VOC2010", "VOCdevkit/VOC2010/trainval",
                 by_hand="https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz"),
         Archive("pascalcontext_val.txt", "VOCdevkit/VOC2010", "VOCdevkit/VOC2010/pascalcontext_val.txt", single=True,
                 by_hand="the list of the 5104 images of val, as CAT-Seg's and OVSeg's instructions give it")),
    ),
    "coco_stuff": Obtainable("COCO-Stuff", "benchmarks.coco_stuff:COCOStuff", "coco", {}, _COCO),
    "coco_object": Obtainable("COCO-Object", "benchmarks.coco_object:COCOObject", "coco", {}, _COCO),
    "ade20k": Obtainable(
        "A-150", "benchmarks.ade20k:ADE20K", "ADEChallengeData2016", {"split": "validation"},
        (Archive("ADEChallengeData2016.zip", "", "ADEChallengeData2016/annotations",
                 by_hand="http://sceneparsing.csail.mit.edu/"),),
    ),
    "cityscapes": Obtainable(
        "City", "benchmarks.cityscapes:Cityscapes", "cityscapes", {"split": "val"},
        tuple(Archive(f"{kind}_trainvaltest.zip", "cityscapes", f"cityscapes/{kind}",
                      by_hand="https://www.cityscapes-dataset.com/ after registration")
              for kind in ("leftImg8bit", "gtFine")),
    ),
    "ade20k_full": Obtainable(
        "A-847", "benchmarks.ade20k_full:ADE20KFull", "ADE20K_2021_17_01", {"layout": "original"},
        by_hand="ask for it at https://groups.csail.mit.edu/vision/datasets/ADE20K/ and unpack it to "
        "ADE20K_2021_17_01; published numbers are of the converted form, `layout: converted`",
    ),
    "foodpix": Obtainable(
        "FoodPix", "benchmarks.foodpix:FoodPix", "UECFOODPIXCOMPLETE", {"split": "test"},
        by_hand="get UECFoodPix Complete at https://mm.cs.uec.ac.jp/uecfoodpix/ and unpack it to UECFOODPIXCOMPLETE",
    ),
    "foodseg": Obtainable(
        "FoodSeg", "benchmarks.foodseg:FoodSeg", "FoodSeg103", {"split": "test"},
        by_hand="get FoodSeg103.zip as https://github.com/LARC-CMU-SMU/FoodSeg103-Benchmark-v1 says (its password is "
        "in the README there) and unpack it to FoodSeg103",
    ),
}  # fmt: skip
