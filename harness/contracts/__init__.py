"""The nouns that flow through the house and the protocols that plug-ins fulfil; nothing heavier than numpy comes in.

A plug-in (method, backbone, benchmark) is a class reached by its address `module:Class`. Its settings are its
dataclass fields. It needs no base class and no registration: it fulfils one of the protocols below.

Five optional attributes let a plug-in say what its results depend on besides its settings:

- `version`: a class attribute (int or str), raised by the author when any pixel can change; it stands for the class's
  module and all modules that it brings along. Without it what their sources say stands for them, so that an edited
  plug-in never meets results of its former self. See docs/what_is_in_an_id.md.
- `places`: a class attribute, the names of settings that only say where files lie. They are in no id. In a grid
  they are relative to its folder, `~` and `$VAR` are filled in, and the plug-in is given the absolute path.
- `edition`: a property, a whole number that is above 1 where these settings give other numbers than under a former
  release, whose other settings keep their ids.
- `idle`: a property, the names of settings that change no pixel as they stand; they are in no id. So a setting that
  came later leaves ids as they were where it has the value that was meant before.
- `fingerprint()`: a method that returns a short string that stands for the content of files it reads and that no
  setting names (weights, manifests). It runs while planning, so it must not import torch.

A benchmark may also name the files behind an image: `files(image_id)`, a sequence of paths, empty where an image is
made by code alone. When one of them changes, the image is read again. Without it the files are those that Python opened
while images were loaded; a benchmark that reads in another way, or keeps many files open, should name them.

Optional methods are for plug-ins that hold models, or look at the protocol (methods, backbones, taggers):

- `models_to_fetch()`: asked while planning; the models, in words, that are not on this machine and would be fetched.
- `remarks_here()`: asked while planning; what people should know where the machine that plans computes too, a sentence
  each: the plan tells of it where no cluster is asked for.
- `unanswered(image_ids)`: of a method or a tagger that answers for some images alone, asked while planning; those of
  the images that it has nothing for. The plan tells of them; they become failed rows.
- `check_passes(requests)`: of a backbone, asked while planning with the passes and parts that a method reads of it.
  It raises ModelError for what the model can never do, as far as its configuration on this machine tells.
- `open_models()`: asked once in a worker before any image is read. It opens what it needs, raises ModelError when that
  cannot be had, and returns what people should know of it, a sentence each (or None). Runs whose models cannot be had
  are not tried.
- `resolved(protocol)`: of a method, asked while planning with the ProtocolSettings of a run. It returns settings, by
  name, that stand in place of its own under that protocol; they are in the id and the recipe. MethodError for settings
  that do not go together with it. So a method that cuts images itself leaves it to a protocol that does.

Only `open_models` may import torch. Four more are attributes. `plane_a_word`: true where the scores of a method have a
plane for every word of every position, in order, and not one a position; then a softmax sees all words, and the best
word of a class counts after it. Three are of the class. `whole_image`: true for a method without passes that is asked
once for the whole image as it is, whatever the protocol resizes or cuts, as for predictions made before. `refused`:
settings that one may look for in vain, each with a clause that says why. `inside`: settings that name what lies in the
folder of another setting: they do not start at the grid's folder, and are given as they are written.
"""

from harness.contracts.doubles import json_without_doubles, yaml_without_doubles
from harness.contracts.nouns import (
    BACKGROUND,
    IGNORED,
    MOST_CLASSES,
    NO_CLASS,
    TRUTH_TYPE,
    WIDE_IGNORED,
    Features,
    FrozenDict,
    Image,
    LabelMap,
    Parts,
    Query,
    Recipe,
    Sample,
    Scores,
    Truth,
    Vocabulary,
    Words,
    freeze,
)
from harness.contracts.paths import expanded
from harness.contracts.plug_ins import (
    Asked,
    Backbone,
    BatchMethod,
    BatchReader,
    Benchmark,
    Finisher,
    Gatherer,
    Learner,
    Lessons,
    Method,
    NamesFiles,
    Pass,
    Reader,
    Tagger,
    Timing,
)
from harness.contracts.rows import Row, Rows
from harness.contracts.rules import LabelRule, NameFile, ProtocolSettings
from harness.contracts.truths import WideTruth, boundary_width, narrowed, widened
from harness.contracts.work import (
    Batch,
    BatchDone,
    Gathering,
    Labelling,
    Mark,
    Origin,
    Picture,
    Planned,
    Purpose,
    Run,
    Scoring,
    Shard,
    Traits,
)
from harness.errors import DataError, MethodError, ModelError

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "MOST_CLASSES",
    "NO_CLASS",
    "TRUTH_TYPE",
    "WIDE_IGNORED",
    "Asked",
    "Backbone",
    "Batch",
    "BatchDone",
    "BatchMethod",
    "BatchReader",
    "Benchmark",
    "DataError",
    "Features",
    "Finisher",
    "FrozenDict",
    "Gatherer",
    "Gathering",
    "Image",
    "LabelMap",
    "LabelRule",
    "Labelling",
    "Learner",
    "Lessons",
    "Mark",
    "Method",
    "MethodError",
    "ModelError",
    "NameFile",
    "NamesFiles",
    "Origin",
    "Parts",
    "Pass",
    "Picture",
    "Planned",
    "ProtocolSettings",
    "Purpose",
    "Query",
    "Reader",
    "Recipe",
    "Row",
    "Rows",
    "Run",
    "Sample",
    "Scores",
    "Scoring",
    "Shard",
    "Tagger",
    "Timing",
    "Traits",
    "Truth",
    "Vocabulary",
    "WideTruth",
    "Words",
    "boundary_width",
    "expanded",
    "freeze",
    "json_without_doubles",
    "narrowed",
    "widened",
    "yaml_without_doubles",
]
