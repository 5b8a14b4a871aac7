"""What the master sends to whom: each peer's progress through the log, and its last contact."""

from __future__ import annotations

from collections.abc import Set

from msgspec import Struct

from node.core.failover import Witness
from node.core.journal import Journal
from proto.voting import AppendAnswer, AppendEntries, Epoch, InstallSnapshot

IN_FLIGHT = 2_000
"""Records sent to one peer and not yet answered for; the rest waits for the answer."""


class Progress(Struct, kw_only=True):
    """One peer's log as the master knows it."""

    next: int
    """The next position to send."""
    stored: int = 0
    probing: bool = True
    """The end of its log is not known: one message at a time, one for each answer."""
    contact: float = -1.0
    """When the newest append that it answered was sent, on this node's clock."""
    stamp: float = 0.0
    """The newest stamp of its own, to be echoed."""
    knows: int = 0
    """The commit position it was told and has answered for."""


class Peers:
    """Everybody the master sends its log to: voters, learners, and those who return."""

    def __init__(self, epoch: Epoch, journal: Journal, witness: Witness) -> None:
        self._epoch = epoch
        self._journal = journal
        self._witness = witness
        self._progress: dict[str, Progress] = {}
        self.returning: set[str] = set()
        """Not wanted, but spoken to until they have come to the present."""

    # --- what is known ------------------------------------------------------------------------

    def stored(self) -> dict[str, int]:
        """What each peer has on disk."""
        return {node: progress.stored for node, progress in self._progress.items()}

    def told(self, position: int) -> set[str]:
        """The peers that know everything up to ``position`` to be committed."""
        return {node for node, progress in self._progress.items() if progress.knows >= position}

    def in_contact(self, since: float, lag: int | None = None) -> set[str]:
        """The peers that answered what was sent since then, and lack at most ``lag`` records."""
        least = 0 if lag is None else self._journal.log.last.position - lag
        return {
            node
            for node, progress in self._progress.items()
            if progress.contact >= since and progress.stored >= least
        }

    def silent_for_less(self, seconds: float, now: float) -> set[str]:
        """The peers heard within ``seconds``, in whatever way."""
        return {node for node in self._progress if self._witness.silence(node, now) < seconds}

    # --- what is sent -------------------------------------------------------------------------

    def follow(self, wanted: Set[str]) -> None:
        """Send to these and to those who return, and forget the others."""
        wanted = (wanted | self.returning) - {self._epoch.node}
        for node in sorted(wanted - self._progress.keys()):
            self._progress[node] = Progress(next=self._journal.log.last.position + 1)
        for node in self._progress.keys() - wanted:
            del self._progress[node]

    def send_new(self, now: float) -> None:
        """Records were appended: pass them on to whoever has room."""
        last = self._journal.log.last.position
        for node, progress in self._progress.items():
            if not progress.probing and last - progress.stored <= IN_FLIGHT:
                self._send(node, progress, now)

    def ping(self, now: float) -> None:
        """Send every peer what it lacks, or nothing but a sign of life."""
        for node, progress in self._progress.items():
            self._send(node, progress, now)

    def probe(self, node: str, now: float) -> None:
        """It does not hear this master, or has been away: bring it to the present."""
        progress = self._progress.get(node)
        if progress is None:
            self.returning.add(node)
            progress = self._progress[node] = Progress(next=self._journal.log.last.position + 1)
        progress.probing = True
        self._send(node, progress, now)

    def _send(self, node: str, progress: Progress, now: float) -> None:
        journal, log = self._journal, self._journal.log
        if progress.next <= log.base.position:
            self._send_snapshot(node, now)
            return
        records = log.batch(progress.next)
        voter = node in log.voters and not self._witness.is_dead(node)
        journal.send(
            node,
            AppendEntries(
                epoch=self._epoch,
                previous=log.mark(progress.next - 1),
                records=records,
                commit=journal.commit,
                last=log.last.position,
                stamp=now,
                # A node outside the newest set, or proven dead, gets no lease: it must not take over.
                echo=progress.stamp if voter else 0.0,
            ),
        )
        if not progress.probing:
            progress.next += len(records)

    def _send_snapshot(self, node: str, now: float) -> None:
        log = self._journal.log
        self._journal.send(
            node,
            InstallSnapshot(
                epoch=self._epoch,
                upto=log.base,
                voters=log.base_voters,
                last=log.last.position,
                stamp=now,
            ),
        )

    def answered(self, node: str, message: AppendAnswer, now: float) -> None:
        """Take a peer's answer of this epoch, and send it what it still lacks."""
        progress = self._progress.get(node)
        if progress is None:
            return
        progress.contact = max(progress.contact, message.echo)
        progress.stamp = max(progress.stamp, message.stamp)
        last = self._journal.log.last.position
        if message.accepted:
            progress.knows = max(progress.knows, message.commit)
            progress.stored = max(progress.stored, message.stored)
            progress.next = max(progress.next, progress.stored + 1)
            progress.probing = False
            if progress.stored >= last:
                self.returning.discard(node)
        elif message.anew:
            progress.probing, progress.next, progress.stored, progress.knows = True, 1, 0, 0
        elif message.hint >= message.previous == progress.next - 1:
            # Its snapshot reaches further than what it was sent: only from there on can they be compared.
            progress.probing = True
            progress.next = min(max(message.hint, progress.stored) + 1, last + 1)
        elif message.hint < message.previous and progress.stored < message.previous < progress.next:
            progress.probing = True
            progress.next = max(min(message.previous, message.hint + 1, last + 1), progress.stored + 1)
        else:
            return
        # A snapshot goes with the heartbeat only: answers that call for one may come in numbers.
        if self._journal.log.base.position < progress.next <= last:
            self._send(node, progress, now)

    def describe(self) -> str:
        """Who has how much."""
        return ", ".join(f"{node}@{progress.stored}" for node, progress in sorted(self._progress.items()))
