"""The name of a template set flows in; its sentences, each with one `{}`, flow out, for a protocol's `templates`."""

from __future__ import annotations

import sys

from harness.contracts import ModelError

PHOTO = ("a photo of a {}",)
BARE = ("{}",)
SCENE = (  # the five that MaskCLIP adds to the 80 of ImageNet (arXiv 2112.01071, configuration of the authors)
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
SETS = ("photo", "bare", "scene", "imagenet7", "imagenet80", "imagenet85")


def templates(name: str) -> tuple[str, ...]:
    """The sentences of a set; the ImageNet ones are open_clip's (ModelError when it is not installed).

    photo: one sentence; bare: the name alone; scene: 5; imagenet80: CLIP's ensemble; imagenet7: its short form;
    imagenet85: the 80 and the 5, as MaskCLIP uses. ValueError for another name.
    """
    own = {"photo": PHOTO, "bare": BARE, "scene": SCENE}
    if name in own:
        return own[name]
    if name not in SETS:
        raise ValueError(f"There is no template set {name!r}; there are {', '.join(SETS)}.")
    try:
        from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES
    except ImportError as problem:
        raise ModelError(
            f"The template set {name!r} comes from open_clip, which is not installed: "
            "install the extra with pip install 'stableseg-harness[open-clip]'."
        ) from problem
    fills = SIMPLE_IMAGENET_TEMPLATES if name == "imagenet7" else OPENAI_IMAGENET_TEMPLATES
    rendered = [fill("{}") for fill in fills]
    return (*rendered, *SCENE) if name == "imagenet85" else tuple(rendered)


if __name__ == "__main__":  # one sentence a line, as a protocol's `templates: FILE.txt` reads it
    print(*templates(sys.argv[1] if len(sys.argv) > 1 else "photo"), sep="\n")
