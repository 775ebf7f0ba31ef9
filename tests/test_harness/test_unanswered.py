"""A question that Ray never answers holds up neither the sweep nor its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.contracts import Recipe
from harness.errors import ClusterError
from harness.executors import ray_pool
from harness.executors.placement import Place
from harness.executors.unanswered import Question, in_time
from harness.foreign import company

PATIENCE = 300.0  # seconds; nobody waits so long but where a test fails


@pytest.fixture
def link() -> Iterator[threading.Event]:
    """Answers come through once it is set, as it is at the end."""
    held = threading.Event()
    yield held
    held.set()
    for thread in threading.enumerate():
        if thread.name == company.UNANSWERED:
            thread.join()


def test_the_answer_before_stands_until_another_one_comes(link: threading.Event) -> None:
    asked, cut = list[int](), threading.Event()

    def nodes() -> int:
        asked.append(len(asked))
        if len(asked) == 2:
            cut.set()
            link.wait()
        return asked[-1]

    question = Question(nodes, PATIENCE)
    assert question.latest() == 0
    question._seconds = 0.1
    assert [question.latest() for _ in range(3)] == [0, 0, 0]
    assert cut.wait(PATIENCE) and asked == [0, 1], "one question at a time"
    link.set()
    (thread,) = [one for one in threading.enumerate() if one.name == company.UNANSWERED]
    thread.join()
    question._seconds = PATIENCE
    assert question.latest() == 1 and question.latest() == 2


def test_a_pool_whose_ray_does_not_answer_has_the_places_that_it_knew(
    link: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, cut, questions = list[int](), threading.Event(), list[Question[Any]]()

    class Ray:
        def remote(self, kind: type) -> Ray:
            return self

        def options(self, **options: Any) -> Ray:
            return self

        def nodes(self) -> list[dict[str, Any]]:
            asked.append(len(asked))
            if len(asked) > 1:
                cut.set()
                link.wait()
            return [{"Alive": True, "NodeID": "one", "Resources": {"CPU": 4.0, "memory": 2.0**40}}]

    def question(ask: Callable[[], Any]) -> Question[Any]:
        questions.append(Question(ask, PATIENCE))
        return questions[-1]

    monkeypatch.setattr(ray_pool, "Question", question)
    monkeypatch.setattr(ray_pool, "LOOK_SECONDS", -1.0)
    pool = ray_pool.RayPool(Recipe.of("toy_workers:Shortly"), Place(cpus=1, gpus=0, threads=1), None, library=Ray())
    known = pool.capacity()
    questions[0]._seconds = 0.1
    assert known > 0 and [pool.capacity() for _ in range(3)] == [known] * 3
    assert cut.wait(PATIENCE) and asked == [0, 1]


def test_what_was_never_answered_is_a_sentence_and_what_was_refused_is_raised(link: threading.Event) -> None:
    with pytest.raises(ClusterError, match="has not said within 0 s which nodes it has"):
        Question(link.wait, seconds=0.1).latest()

    def refuse() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        Question(refuse).latest()


def test_an_end_waits_for_no_open_question(link: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[threading.Thread] = []
    in_time(lambda: here.append(threading.current_thread()))
    assert here == [threading.main_thread()], "without an open question nothing is different"
    with pytest.raises(ClusterError):
        Question(link.wait, seconds=0.1).latest()
    in_time(link.wait, seconds=0.1)
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(company, "_met", set())
    with pytest.raises(SystemExit):  # the real one does not come back
        company.leave(3)
    assert codes == [3]
