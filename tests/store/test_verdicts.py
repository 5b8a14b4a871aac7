"""From attempts to verdicts: replans, settling, the first verdict stands, nothing is left open."""

from __future__ import annotations

from node.core import records as rec
from node.store.details import TEXT_KEPT
from node.store.rows import TestRow
from proto.messages import TestId
from tests.store.story import ONE, TWO, Story, case


def _tests(story: Story, state: str = "") -> tuple[TestRow, ...]:
    page = story.store.tests(story.evaluation, state=state)
    assert page is not None
    return page.tests


def _outcomes(story: Story) -> dict[str, str | None]:
    return {test.nodeid: test.outcome for test in (*_tests(story), *_tests(story, "pending"))}


def test_an_attempt_that_is_not_final_is_no_verdict(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(story.attempt("a.py", 0, "failed", final=False))
    assert _outcomes(story) == {"a.py::test_0": None}


def test_the_first_verdict_stands(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(story.attempt("a.py", 0, "passed"), story.attempt("a.py", 0, "failed"))
    story.tell(story.attempt("a.py", 0, "error"))
    story.tell(rec.Settled(evaluation=12345, project=0, module="a.py", test=case("a.py", 0), outcome="lost"))
    (test,) = _tests(story)
    assert test.outcome == "passed"
    assert [attempt.outcome for attempt in test.attempts] == ["passed", "failed", "error"]


def test_settling_takes_the_newest_attempt_that_says_so(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(
        story.attempt("a.py", 0, "failed", final=False, node=ONE, message="first"),
        story.attempt("a.py", 0, "failed", final=False, node=TWO, message="second"),
        story.attempt("a.py", 0, "passed", final=False, node=ONE),
        rec.Settled(
            evaluation=12345,
            project=0,
            module="a.py",
            test=case("a.py", 0),
            outcome="failed",
            unconfirmed=True,
        ),
    )
    (test,) = _tests(story)
    assert (test.outcome, test.unconfirmed) == ("failed", True)
    standing = next(attempt for attempt in test.attempts if attempt.position == test.standing)
    assert (standing.node, standing.detail.message) == (TWO, "second")


def test_settling_without_any_attempt(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(rec.Settled(evaluation=12345, project=0, module="a.py", test=case("a.py", 0), outcome="lost"))
    (test,) = _tests(story)
    assert (test.outcome, test.standing, test.attempts) == ("lost", None, ())


def test_a_replan_drops_the_old_tests_and_their_verdicts(story: Story) -> None:
    story.accept()
    story.run({"a.py": "FF", "b.py": "."})
    new = (TestId("a.py::other"), case("a.py", 0))
    story.tell(rec.Planned(evaluation=12345, project=0, module="a.py", tests=new, replaces=True))
    assert _outcomes(story) == {"a.py::other": None, "a.py::test_0": None, "b.py::test_0": "passed"}
    story.tell(story.attempt("a.py", 0, "passed"))
    assert _outcomes(story)["a.py::test_0"] == "passed"
    assert story.store.stats().all.failed == 0
    assert [test.nodeid for test in _tests(story, "pending")] == ["a.py::other"]


def test_a_replan_in_the_same_batch_as_its_attempts(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 2})
    story.tell(
        story.attempt("a.py", 0, "failed"),
        story.attempt("a.py", 1, "failed"),
        rec.Planned(evaluation=12345, project=0, module="a.py", tests=(case("a.py", 1),), replaces=True),
        story.attempt("a.py", 1, "passed"),
    )
    assert _outcomes(story) == {"a.py::test_1": "passed"}


def test_a_module_planned_in_pieces_keeps_its_order(story: Story) -> None:
    story.accept()
    tests = tuple(case("a.py", index) for index in range(10))
    for start in (0, 4, 8):
        story.tell(
            rec.Planned(evaluation=12345, project=0, module="a.py", tests=tests[start : start + 4]),
        )
    story.tell(rec.Planned(evaluation=12345, project=0, module="a.py", tests=tests))
    assert [test.nodeid for test in _tests(story, "pending")] == [test.nodeid for test in tests]


def test_a_later_list_gives_the_modules_order(story: Story) -> None:
    story.accept()
    for name in ("c.py", "a.py", "b.py"):
        story.tell(rec.Planned(evaluation=12345, project=0, module=name, tests=(case(name, 0),)))
    story.tell(rec.Listed(evaluation=12345, project=0, modules=("b.py", "c.py")))
    assert [test.module for test in _tests(story, "pending")] == ["b.py", "c.py", "a.py"]


def test_what_is_missing_at_the_end_is_lost(story: Story) -> None:
    story.accept()
    story.run({"a.py": ".-"})
    story.end()
    assert _outcomes(story) == {"a.py::test_0": "passed", "a.py::test_1": "lost"}
    stats = story.store.stats()
    assert (stats.all.passed, stats.all.failed) == (1, 1)


def test_what_is_missing_when_cancelled_was_not_run(story: Story) -> None:
    story.accept()
    story.run({"a.py": ".-"})
    story.end("cancelled")
    assert _outcomes(story)["a.py::test_1"] == "notrun"


def test_nothing_changes_an_evaluation_that_is_over(story: Story) -> None:
    story.accept()
    story.run({"a.py": "."})
    story.end()
    before = (story.store.evaluation(12345), story.store.stats())
    story.tell(
        story.attempt("late.py", 0, "failed"),
        rec.Planned(evaluation=12345, project=0, module="a.py", tests=(case("a.py", 9),), replaces=True),
        rec.Ended(evaluation=12345, state="cancelled", at=999.0),
    )
    assert (story.store.evaluation(12345), story.store.stats()) == before


def test_long_texts_keep_head_and_tail(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(story.attempt("a.py", 0, "failed", output="head" + "." * 200_000 + "tail", traceback="short"))
    ((attempt,),) = (test.attempts for test in _tests(story))
    assert attempt.detail.output.startswith("head")
    assert attempt.detail.output.endswith("tail")
    assert len(attempt.detail.output) < TEXT_KEPT + 100
    assert attempt.detail.traceback == "short"


def test_a_cloned_project_and_its_notes(story: Story) -> None:
    url = "https://github.com/user/repo"
    story.accept(1, rec.Source(name="repo", url=url, notes=("submitted",)))
    story.tell(
        rec.Fetched(evaluation=1, project=0, package="b" * 64, size=42, name="better", notes=("cloned",)),
        rec.Listed(
            evaluation=1, project=0, modules=(), command=("pytest", "-q"), versions={"pytest": "9.2"},
            mode="whole", notes=("cloned", "no tests"),
        ),
        rec.ProjectEnded(evaluation=1, project=0, state="finished", audited=True, confirmed=False),
    )  # fmt: skip
    rows = story.store.evaluation(1)
    assert rows is not None
    (project,) = rows.projects
    assert (project.name, project.package, project.size, project.mode) == ("better", "b" * 64, 42, "whole")
    assert project.command == ("pytest", "-q")
    assert project.versions == {"pytest": "9.2"}
    assert project.notes == ("submitted", "cloned", "no tests")
    assert (project.state, project.audited, project.confirmed) == ("finished", True, False)
