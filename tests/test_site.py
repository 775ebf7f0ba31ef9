"""The site: it is built strictly, no link leads nowhere, and what its pages tell to type is typed.

A block is run here, or by another file (ELSEWHERE), or says in its first line what it needs that a test has not
(`# needs: a GPU`); then it is parsed, and so is every command of ours in it.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from chromium import Chromium
from in_process import as_it_was, call

from harness import __main__ as command
from harness import sweep_options
from harness.grid import form_page
from harness.grid import reading as grids

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}
WALKED = ("tour.md", "grid.md")  # run here, from the first block to the last
ELSEWHERE = {  # page -> the test that runs its code and its commands
    "api.md": "test_python_api.py",
    "extending.md": "test_extending.py",
    "learning.md": "test_extending.py",
    "report.md": "test_results/test_stranger_estimator.py",
    "data/add_a_benchmark.md": "test_benchmarks/test_benchmark_docs.py",
    "methods/add_a_method.md": "test_methods/test_method_docs.py",
    "methods/predictions.md": "test_methods/test_predictions.py",
}
LANGUAGES = {"bash", "python", "yaml", "toml", "text", ""}
NEEDS = re.compile(r"\A(?:#!.*\n)?# needs: \w+")
TESTS = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
OURS = re.compile(r"(?:python -u? ?-m |stableseg )(.*)")


class Block(NamedTuple):
    """Code on a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def needs(self) -> bool:
        """Whether it says that a test cannot run it."""
        return NEEDS.match(self.text) is not None


def blocks(page: str) -> list[Block]:
    """In order; a fence that is not closed is found by the strict pairing."""
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    return [Block(page, PAGES[page][: one.start()].count("\n") + 1, one[1], one[2]) for one in found]


BLOCKS = [block for page in PAGES for block in blocks(page)]


def named(block: Block) -> str:
    return f"{block.page}:{block.line}"


def of(*languages: str) -> list[Any]:
    return [pytest.param(block, id=named(block)) for block in BLOCKS if block.language in languages]


# The pages and their links


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built strictly."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    assert config.strict and not yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8")).get("plugins")
    build(config)
    return folder


def test_the_site_is_built_without_a_warning(site: Path) -> None:
    for page in PAGES:
        path = Path(page).with_suffix("") if Path(page).name not in ("README.md", "index.md") else Path(page).parent
        assert (site / path / "index.html").is_file(), page


def test_the_site_is_fit_to_be_looked_at(site: Path) -> None:
    """In a browser: nothing throws, colours follow the system, sections stand in a line, and tables can be read."""
    with Chromium() as browser:
        for dark in (False, True):
            browser.look(1366, 768, dark=dark)
            browser.open(site / "index.html")
            # The search starts a worker, which no page that is opened from the disk may.
            assert [one for one in browser.complaints if "search/worker.js" not in one] == []
            assert browser.value("document.documentElement.dataset.bsTheme") == ("dark" if dark else "light")
            assert browser.value("document.querySelector('.navbar').offsetHeight") < 70
        browser.look(1366, 768, dark=False)  # the theme's script came to its last lines: they listen to the system
        browser.until("document.documentElement.dataset.bsTheme === 'light'")
        browser.look(390, 844, phone=True)
        for page in ("methods/relatives", "methods/clip", "results_folder"):  # an address stands in the first column
            browser.open(site / page / "index.html")
            assert browser.value("document.documentElement.scrollWidth") <= 390
            cells = browser.value("[...document.querySelectorAll('[role=main] td')].map(cell => cell.offsetWidth)")
            assert cells and min(cells) > 95 and max(cells) < 360


def test_a_dead_link_a_dead_anchor_and_a_page_without_a_place_are_warnings(tmp_path: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    (tmp_path / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / ".theme", tmp_path / "docs" / ".theme")
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[there](b.md#here)\n")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8")) | {"nav": [{"A": "index.md"}, {"B": "b.md"}]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    for text, whole in (("# B\n\n## Here\n", True), ("# B\n", False), (None, False)):
        (tmp_path / "docs" / "b.md").unlink(missing_ok=True)
        if text is not None:
            (tmp_path / "docs" / "b.md").write_text(text)
        config = load_config(str(tmp_path / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
        if whole:
            build(config)
        else:
            with pytest.raises(Abort):
                build(config)


def anchors(text: str) -> set[str]:
    """Of the headings, as repositories' own pages make them: mkdocs makes its own."""
    bare = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", bare, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, "../README.md", "../CONTRIBUTING.md"])
def test_links_lead_somewhere_for_who_reads_the_repository(page: str) -> None:
    here = DOCS / page
    for link in re.findall(r"\]\(([^)\s]+)\)", here.read_text("utf-8")):
        if re.match(r"https?://", link):
            continue
        place, _, anchor = link.partition("#")
        target = (here.parent / place).resolve() if place else here.resolve()
        assert target.exists(), f"{page} links {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{page} links {link}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_the_same_in_other_renderers(page: str) -> None:
    """One title, and lists, tables and fences that begin after an empty line: Python-Markdown needs it."""
    bare = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", bare, flags=re.MULTILINE)) == 1 and bare.startswith("# ")
    lines = bare.splitlines()
    for before, line in pairwise(lines):
        for start in (r"- |\* |\d+\. ", r"\|"):
            begins = re.match(start, line) and before.strip() and not re.match(rf"{start}|  ", before)
            assert not begins, f"{page}: an empty line is missing before {line!r}"
    assert PAGES[page].count("\n```") % 2 == 0 and {block.language for block in blocks(page)} <= LANGUAGES


def test_the_page_of_the_grid_is_the_forms_and_every_key_is_explained() -> None:
    assert form_page.grid_page(PAGES["grid.md"]) == PAGES["grid.md"], "run `make pages`"


def test_a_key_without_words_is_told() -> None:
    class Silent(form_page.Form):
        key: int = 1

    with pytest.raises(LookupError, match="Silent says nothing below key"):
        form_page.words_of_keys(Silent)


def test_decisions_are_all_listed() -> None:
    listed = re.findall(r"\[(.*)\]\((.*)\)", PAGES["decisions/README.md"])
    there = [page for page in PAGES if re.match(r"decisions/\d", page)]
    assert listed == [(PAGES[page].partition("\n")[0].partition(". ")[2], Path(page).name) for page in there]


def test_whatever_a_sweep_survives_is_held_by_a_test() -> None:
    table = PAGES["cluster.md"].partition("## What survives what")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    tests = {name for path in (ROOT / "tests").rglob("test_*.py") for name in TESTS.findall(path.read_text("utf-8"))}
    held = [row[-1].strip("`") for row in rows]
    assert len(held) >= 25 and {len(row) for row in rows} == {3}
    assert not set(held) - tests


def test_the_citation_says_what_the_project_says() -> None:
    import tomllib

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= set(cited) and cited["type"] == "software"


# What they tell to type


def test_every_block_has_somebody_who_runs_it() -> None:
    for page, file in ELSEWHERE.items():
        assert f'"{Path(page).stem}' in (ROOT / "tests" / file).read_text("utf-8"), f"{file} does not read {page}"
    idle = [
        named(block) for block in BLOCKS
        if block.language in ("bash", "python") and not block.needs and block.page not in (*WALKED, *ELSEWHERE)
    ]  # fmt: skip
    assert not idle, f"run by no test, and without `# needs: ...`: {idle}"


@pytest.mark.parametrize("block", of("python"))
def test_code_is_code(block: Block) -> None:
    compile(block.text, named(block), "exec", ast.PyCF_ONLY_AST)


@pytest.mark.parametrize("block", of("bash"))
def test_commands_are_commands(block: Block) -> None:
    """The shell reads them, and whatever of them is ours is known to its parser."""
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for words in ours(block):
        if words[0] in command.VERBS:
            verb = command.VERBS[words[0]]
            parser, given = command._parser(words[0], verb), [*verb.first, *words[1:]]
        else:
            package = importlib.util.find_spec(words[0])
            assert package is not None, words
            module = importlib.import_module(f"{words[0]}.__main__" if package.submodule_search_locations else words[0])
            if not hasattr(module, "parser"):
                continue
            parser, given = module.parser(), words[1:]
        parser.parse_args(given)


OF_A_RAY_JOB = {
    "entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "runtimeEnvYAML", "rayClusterSpec", "submissionMode",
    "ttlSecondsAfterFinished", "suspend", "activeDeadlineSeconds", "entrypointNumCpus", "entrypointNumGpus",
}  # fmt: skip


def test_the_ray_job_has_the_fields_of_one_and_its_entrypoint_is_a_command_of_ours() -> None:
    """By what is known of KubeRay (version v1 of its interface), and by what Kubernetes asks of every pod."""
    (block,) = [one for one in BLOCKS if one.page == "cluster.md" and "kind: RayJob" in one.text]
    job = yaml.safe_load(block.text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert set(spec) <= OF_A_RAY_JOB
    assert set(cluster) <= {"headGroupSpec", "workerGroupSpecs", "rayVersion", "authOptions"}
    python, unbuffered, module, name, *words = spec["entrypoint"].split()
    assert [python, unbuffered, module, name] == ["python", "-u", "-m", "harness.sweep"]
    options = sweep_options.parser().parse_args(words)
    variables = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert options.address == "auto" and options.grace < int(variables["RAY_JOB_STOP_WAIT_TIME_S"])
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) == {"rayStartParams", "template"} and head["rayStartParams"] == {"num-cpus": "0"}
    assert set(workers) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for pod in (head["template"]["spec"], workers["template"]["spec"]):
        assert pod["terminationGracePeriodSeconds"] > int(variables["RAY_JOB_STOP_WAIT_TIME_S"])
        held = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: held[mount["name"]] for mount in container["volumeMounts"]}
        assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory"} and "persistentVolumeClaim" in mounts["/shared"]
    mounted = {mount["mountPath"] for mount in head["template"]["spec"]["containers"][0]["volumeMounts"]}
    for path in (options.grid, options.results):
        assert str(path.parent) in mounted, "the head, which runs the job, does not have it"
    assert workers["template"]["spec"]["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 1}}


def ours(block: Block) -> Iterator[list[str]]:
    """Commands of ours: the module, or the verb, and the arguments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if found := OURS.search(line):
            words = shlex.split(found[1], comments=True)
            if words[0].split(".")[0] in ("harness", "results", "methods", "perf", *command.VERBS):
                yield words


@pytest.mark.parametrize("block", of("yaml"))
def test_grid_lines_are_read_as_a_grid(block: Block, tmp_path: Path) -> None:
    if block.page in ("data/README.md",):
        return  # a file of names
    whole = completed(block)
    for module, cls in re.findall(r"\b((?:my|wide)_\w+):([A-Z]\w+)", block.text):
        own = [one.text for one in BLOCKS if one.page == block.page and f"class {cls}:\n    teacher" in one.text]
        (tmp_path / f"{module}.py").write_text("".join(own) or STUB.format(cls))
    (tmp_path / "my_scores.py").write_text("def worst_class(counts): return None\n")
    for folder in ("their_predictions", "their_scores"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(b"")
    (tmp_path / "imagenet80.txt").write_text("a photo of a {}.\n")
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    with as_it_was(tmp_path):
        assert grids.read_grid(tmp_path / "grid.yaml").cells


STUB = """
from dataclasses import dataclass
from typing import Any

@dataclass(frozen=True)
class {}:
    class_index: int = 0
    sharpness: float = 1.0
    timestep: int = 1
    root: str = ""
    classes = ("a", "b")

    def segment(self, image, vocabulary): ...
    def ids(self): ...
    def load(self, image_id): ...
"""


def completed(block: Block) -> dict[str, Any]:
    """A grid around the lines that a page shows."""
    found = yaml.safe_load(block.text)
    if isinstance(found, list):
        kind = "tables" if "rows" in found[0] else "methods"
        found = {kind: found}
    stableseg = {"name": "StableSeg", "use": "methods.stableseg:StableSeg"}
    methods = found.get("methods", [stableseg])
    teachers = {one["with"]["teacher"] for one in methods if "teacher" in one.get("with", {})}
    more = [stableseg | {"name": name} for name in sorted(teachers - {one["name"] for one in methods})]
    shapes = {"name": "Shapes", "use": "benchmarks.shapes:Shapes", "train": {"split": "train"}}
    return {"name": "page", "benchmarks": [shapes]} | found | {"methods": more + methods}


@pytest.mark.parametrize("page", WALKED)
def test_a_page_is_walked_from_the_first_block_to_the_last(page: str, tmp_path: Path) -> None:
    """Files are saved as their first line says, code is run, commands are typed, and what is shown was printed."""
    space: dict[str, Any] = {}
    told = ""
    for block in blocks(page):
        if block.needs:
            continue
        if block.language == "yaml" and (file := re.match(r"# (\w+\.yaml)\n", block.text)):
            (tmp_path / file[1]).write_text(block.text.replace("images: 12", "images: 2"))
        elif block.language == "python":
            with as_it_was(tmp_path):
                exec(block.text, space)
        elif block.language == "bash":
            for words in ours(block):
                lean = ["--no-report"] if words[0] == "sweep" else []
                answer = call(command.main, *words, *lean, cwd=tmp_path)
                assert answer.returncode == 0, (named(block), words, answer.stdout, answer.stderr)
                told += answer.stdout
        elif block.language == "text":
            for line in filter(None, map(shape, block.text.splitlines())):
                assert line in set(map(shape, told.splitlines())), f"{named(block)}: {line}"


def shape(line: str) -> str:
    """A line of output with every number as 0, since fewer images are swept here, and without bars."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "0", re.sub("[━─╸]+", "", line)).split())
