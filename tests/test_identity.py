"""Which of the identities under a data directory a node takes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from node.identity import DATABASE, NodeIdentity, take
from node.store import Store, StoreSettings


def give_log(identity: NodeIdentity, positions: int, voters: list[NodeIdentity]) -> None:
    """A database whose log has so many records, the last of which names the voters."""
    store = Store(identity.directory / DATABASE, StoreSettings())
    try:
        store.found(identity.node)
    finally:
        store.close()
    named = json.dumps([voter.node for voter in voters])
    with closing(sqlite3.connect(identity.directory / DATABASE)) as connection, connection:
        connection.executemany(
            "INSERT INTO log (position, epoch, node, evaluation, body, voters) VALUES (?, 2, 'n', 0, '', ?)",
            [(n, named if n == positions else None) for n in range(2, positions + 1)],
        )


def test_each_takes_another_and_a_free_one_again(tmp_path: Path) -> None:
    founder = take(tmp_path, founder=True)
    first, second = (take(tmp_path, founder=False) for _ in range(2))
    assert len({founder.node, first.node, second.node}) == 3
    first.release()
    again = take(tmp_path, founder=False)
    assert again.node == first.node
    founder.release()
    third = take(tmp_path, founder=False)
    assert third.node not in (founder.node, first.node, second.node), (
        "it would be gone when the founder comes"
    )
    assert take(tmp_path, founder=True).node == founder.node


def test_the_voters_are_served_first(tmp_path: Path) -> None:
    """A founder that lost its vote has the whole log too; still the two that vote must both come back."""
    founder = take(tmp_path, founder=True)
    voters = [take(tmp_path, founder=False) for _ in range(2)]
    stale, empty = take(tmp_path, founder=False), take(tmp_path, founder=False)
    give_log(founder, 9, voters)
    give_log(voters[0], 9, voters)
    give_log(voters[1], 8, [founder, voters[1]])
    give_log(stale, 5, [founder, stale])
    for identity in (founder, *voters, stale, empty):
        identity.release()
    back = [take(tmp_path, founder=True), take(tmp_path, founder=False)]
    assert {identity.node for identity in back} == {voter.node for voter in voters}
    assert not any(identity.stranger for identity in back)
    assert take(tmp_path, founder=False).node == founder.node
    assert take(tmp_path, founder=False).node == stale.node
    last = take(tmp_path, founder=True)
    assert last.node == empty.node
    assert last.stranger, "it holds no log beside those that do"


def test_a_database_that_cannot_be_read_is_no_log(tmp_path: Path) -> None:
    identity = take(tmp_path, founder=True)
    (identity.directory / DATABASE).write_bytes(b"not a database, but long enough to be looked at")
    identity.release()
    again = take(tmp_path, founder=True)
    assert (again.node, again.stranger) == (identity.node, False)
