"""What ``/stats`` counts: each standing verdict once, for ever, for the node that gave it."""

from __future__ import annotations

from node.core import records as rec
from node.store import Store, StoreSettings
from tests.store.story import ONE, TWO, Story


def test_counting_does_not_change_when_an_evaluation_ends(story: Story) -> None:
    story.accept()
    story.run({"a.py": ".F", "b.py": "xXs"})
    before = story.store.stats()
    assert (before.all.passed, before.all.failed) == (3, 1)
    story.end()
    assert story.store.stats() == before


def test_the_system_also_counts_what_no_node_gave(story: Story) -> None:
    story.accept()
    story.run({"a.py": "."}, node=ONE)
    story.run({"b.py": "L"}, node="")
    story.tell(rec.ProjectFailed(evaluation=12345, project=0, phase="start", message="gone"))
    stats = story.store.stats()
    assert (stats.all.passed, stats.all.failed) == (1, 2)
    assert (stats.nodes[ONE].passed, stats.nodes[ONE].failed) == (1, 0)
    assert set(stats.nodes) == {ONE}


def test_only_the_standing_attempt_counts(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(
        story.attempt("a.py", 0, "failed", final=False, node=ONE),
        story.attempt("a.py", 0, "passed", node=TWO),
    )
    stats = story.store.stats()
    assert (stats.all.passed, stats.all.failed) == (1, 0)
    assert set(stats.nodes) == {TWO}


def test_projects_are_distinct_by_source(story: Story) -> None:
    url = "https://github.com/user/repo"
    for number, name in ((1, "repo"), (2, "renamed")):
        story.accept(number, rec.Source(name=name, url=url), rec.Source(name="upload"))
        story.run({"a.py": "."}, project=0, node=ONE)
        story.run({"b.py": "."}, project=1, node=TWO)
        story.end(projects=2)
    stats = story.store.stats()
    assert stats.all.projects == {url, "upload"}
    assert stats.all.evaluations == {1, 2}
    assert stats.nodes[ONE].projects == {url}
    assert stats.nodes[ONE].modules == 2


def test_an_evaluation_without_tests_counts_as_one(story: Story) -> None:
    story.accept(7)
    assert story.store.stats().all.evaluations == {7}
    story.end()
    assert story.store.stats().all.evaluations == {7}


def test_totals_outlive_retention_and_restarts(store: Store, story: Story) -> None:
    story.accept()
    story.run({"a.py": ".F"})
    story.end()
    before = store.stats()
    store.close()
    again = Store(store.path, StoreSettings(retention_days=1.0))
    try:
        again.retain(now=1e9)
        assert again.evaluation(12345) is None
        assert again.stats() == before
    finally:
        again.close()


def test_durations_are_those_of_the_last_time(story: Story) -> None:
    source = rec.Source(name="p", url="https://github.com/user/p")
    for number, seconds in ((1, 4.0), (2, 0.5)):
        story.accept(number, source)
        story.run({"a.py": "..", "b.py": "."}, seconds=seconds)
        assert story.store.durations(source.url) == ({} if number == 1 else {"a.py": 8.0, "b.py": 4.0})
        story.end()
    assert story.store.durations(source.url) == {"a.py": 1.0, "b.py": 0.5}
    assert story.store.durations("p") == {}
