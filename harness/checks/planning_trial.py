"""A recipe a line, as JSON, on standard input -> what planning sees of it, a line: facts, passes, heavy imports.

Run as `python -m harness.checks.planning_trial` in a process of its own, as the gate for methods does: only a fresh
process shows what an import drags in, and whether a recipe means the same thing everywhere.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from harness.contracts import Reader, Recipe
from harness.errors import HarnessError
from harness.recipes import identity, loading

HEAVY = ("torch", "diffusers", "transformers", "open_clip", "tensorflow", "jax")


def seen_by_planning(recipe: Recipe) -> dict[str, Any]:
    """Everything that a plan and a run's id take from a recipe, as plain values that JSON keeps."""
    built = loading.build(recipe)
    needs = loading.passes_of(built) if isinstance(built, Reader) else {}
    networks = dict.fromkeys(request.backbone for request in needs)
    seen = {
        "method": identity.facts(recipe, built),
        "passes": sorted([repr(request), sorted(parts)] for request, parts in needs.items()),
        "backbones": [identity.facts(network, loading.build(network)) for network in networks],
    }
    plain: dict[str, Any] = json.loads(json.dumps(seen))
    return plain


def main() -> int:
    """Answers every recipe: {"seen": ..., "heavy": [...]}, or {"error": ..., "heavy": [...]}."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer: dict[str, Any] = {"seen": seen_by_planning(Recipe.of(asked["use"], **asked["settings"]))}
        except HarnessError as error:
            answer = {"error": str(error)}
        answer["heavy"] = [name for name in HEAVY if name in sys.modules]
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
