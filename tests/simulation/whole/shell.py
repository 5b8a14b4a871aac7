"""What carries out the effects of a simulated node: the counterpart of the real shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.core import effects as fx
from node.core import events as ev
from node.core.voting_events import (
    Commit,
    Compacted,
    FetchSnapshot,
    Persist,
    Persisted,
    SnapshotFetched,
    TruncateTail,
)
from proto import messages as m
from tests.simulation.checks import Violation
from tests.simulation.whole.keeping import Keeping
from tests.simulation.whole.process import NodeDisk, Process, Write
from tests.simulation.whole.runners import Runners

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.whole.world import World

ALONE = fx.Load | TruncateTail
"""What the writer carries out between two batches."""
TAIL = 300
"""Records of the log that are kept beside the tables."""


class Shell:
    """One for the whole world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.runners = Runners(world)
        self.keeping = Keeping(world)
        self.answers: dict[int, fx.Answer] = {}
        self.asked: dict[int, Callable[[fx.Answer], None]] = {}
        """Ticket -> who waits for its answer."""
        self.messages: list[tuple[str, str, m.AnyMessage]] = []
        self.keep_messages = False
        self.recalled: dict[str, float] = {}
        """What is known of every project from before."""
        self.recalls: list[fx.Recall] = []
        self.tail = TAIL
        self._said: dict[tuple[object, int], m.TestId] = {}
        """(assignment, number) -> the test whose verdict it was."""

    def carry_out(self, process: Process, effect: fx.AnyEffect) -> None:
        world = self._world
        match effect:
            case fx.Send():
                self._send(process, effect)
            case TruncateTail() if not effect.committed:
                world.say(f"{process.name} drops {len(effect.records)} from #{effect.truncate_from} on")
            case Persist() | Commit() | fx.Load() | TruncateTail():
                process.writing.append(effect)
                self.write(process)
            case fx.Dial():
                world.wires.dial(process, effect.node)
            case fx.StartSession():
                self.runners.start(process, effect.open)
            case fx.RunInSession():
                self.runners.command(process, effect.run.session, effect.run)
            case fx.WithdrawInSession():
                self.runners.command(process, effect.session, (effect.assignment, effect.tail))
            case fx.EndSession():
                self.runners.end(process, effect)
            case fx.Answer():
                self._answer(process, effect)
            case fx.Equip():
                world.later(world.pace(), lambda: self.keeping.equip(process, effect))
            case fx.Clone():
                world.later(world.pace(), lambda: self.keeping.cloned(process, effect))
            case fx.Recall():
                self._recall(process, effect)
            case FetchSnapshot():
                world.later(world.pace(), lambda: self._fetch(process, effect))
            case fx.Compare():
                world.later(world.pace(), lambda: self._compare(process, effect))
            case fx.ReadHistory():
                world.later(world.pace(), lambda: self._read(process, effect))
            case fx.DropHistory():
                process.disk.asides.drop(effect.history, effect.evaluation)
            case fx.Say():
                world.say(f"{process.name}: {effect.text}")
            case fx.Disconnect():
                world.wires.disconnect(process, effect.node)
            case fx.Stop():
                self._stop(process)

    # --- messages ---------------------------------------------------------------------------------

    def _send(self, process: Process, effect: fx.Send) -> None:
        message = effect.message
        assert effect.node != process.name, f"a message to itself left {process.name}: {message}"
        if isinstance(message, m.Verdicts):
            for number, verdict in enumerate(message.verdicts, message.first):
                self._said[message.assignment, number] = verdict.test
        elif isinstance(message, m.Answered):
            self._check_answered(process, message)
        if self.keep_messages:
            self.messages.append((process.name, effect.node, message))
        self._world.wires.send(process, effect.node, message)

    def _check_answered(self, process: Process, message: m.Answered) -> None:
        """Every verdict answered as recorded is committed, and nothing else is called so."""
        superseded = set(message.superseded)
        number = message.upto - 1
        while number >= 0 and (message.assignment, number) in self._said:
            test = self._said.pop((message.assignment, number))
            known = (message.assignment, test) in process.disk.facts.attempts
            if number not in superseded and not known:
                raise Violation(f"{message} was sent before the verdict of {test} was committed")
            number -= 1

    def _answer(self, process: Process, answer: fx.Answer) -> None:
        body = answer.body
        number = body.get("id") if answer.status == 202 and isinstance(body, dict) else None
        if number is not None and number not in process.disk.facts.accepted:
            raise Violation(f"{process.name} answers id {number} before it is committed")
        self.answers[answer.ticket] = answer
        waiting = self.asked.pop(answer.ticket, None)
        if waiting is not None:
            waiting(answer)

    # --- the disk ---------------------------------------------------------------------------------

    def write(self, process: Process) -> None:
        """The writer takes the next batch, if there is one and it is idle."""
        if process.batch or not process.writing or not process.awake:
            return
        batch = process.batch = [process.writing.popleft()]
        while process.writing and not isinstance(batch[0], ALONE) and len(batch) < 50:
            following = process.writing[0]
            alone = isinstance(following, Persist) and following.snapshot is not None
            if isinstance(following, ALONE) or alone:
                break
            batch.append(process.writing.popleft())
        took = self._world.random.random() * self._world.write_delay
        self._world.later(took, lambda: self._written(process))

    def _written(self, process: Process) -> None:
        if not process.alive:
            return
        batch, process.batch = process.batch, []
        disk = process.disk
        if isinstance(batch[0], ALONE):
            if isinstance(batch[0], fx.Load):
                self._load(process, batch[0])
            else:
                self._part(process, batch[0])
            self.write(process)
            return
        numbers = self._write(process, batch)
        if numbers:
            self._world.tell(process, Persisted(number=numbers[-1]))
        if disk.applied - disk.base.position > 2 * self.tail:
            disk.compact(disk.applied - self.tail)
            self._world.tell(process, Compacted(position=disk.base.position))
        self._world.tell(process, ev.Committed(position=disk.applied))
        self.write(process)

    def _part(self, process: Process, effect: TruncateTail) -> None:
        """Set aside what this node had committed beside another master, and begin again with nothing."""
        world, disk = self._world, process.disk
        if not disk.facts.parted:
            raise Violation(f"{process.name} drops committed records: {effect}")
        world.say(f"{process.name} sets its history aside")
        disk.asides.add(disk.facts, disk.applied, effect.truncate_from)
        disk.empty()
        (disk.facts,) = (other.facts for other in world.disks.values() if other is not disk)
        self.offer(process)

    def offer(self, process: Process) -> None:
        """Tell the core what waits on its disk."""
        offers = tuple(process.disk.asides.offers)
        if offers:
            self._world.tell(process, ev.Parted(offers=offers))

    def _compare(self, process: Process, effect: fx.Compare) -> None:
        offer, disk = effect.offer, process.disk
        known, ended = disk.facts.standing(offer.evaluation, disk.applied)
        event = ev.Compared(
            node=effect.node,
            history=offer.history,
            evaluation=offer.evaluation,
            known=known,
            ended=ended,
            settled=(effect.node, offer.history, offer.evaluation) in disk.facts.settled,
        )
        self._world.tell(process, event)

    def _read(self, process: Process, effect: fx.ReadHistory) -> None:
        where = (effect.history, effect.evaluation, effect.part)
        found = process.disk.asides.part(*where)
        if found is not None:
            event = ev.HistoryRead(
                history=effect.history,
                evaluation=effect.evaluation,
                part=effect.part,
                last=found[1],
                body=found[0],
            )
            self._world.tell(process, event)

    def _write(self, process: Process, batch: list[Write]) -> list[int]:
        """One transaction; the numbers of what is on disk by it."""
        disk = process.disk
        upto, numbers = disk.applied, []
        for effect in batch:
            if isinstance(effect, Persist):
                disk.write(effect)
                upto = max(disk.applied, upto if effect.snapshot is None else 0, effect.commit)
                numbers.append(effect.number)
            elif isinstance(effect, Commit):
                upto = max(upto, effect.upto)
        self.apply(process.name, disk, upto)
        return numbers

    def apply(self, name: str, disk: NodeDisk, upto: int) -> None:
        """Carry committed records into the tables."""
        for record in disk.ready(upto):
            disk.facts.apply(name, record)
            disk.applied = record.position

    def _load(self, process: Process, effect: fx.Load) -> None:
        facts, applied = process.disk.facts, process.disk.applied
        event = ev.Replayed(
            epoch=effect.epoch,
            records=facts.unfinished(applied),
            highest=facts.highest(applied),
            members=facts.members(applied),
            at=self._world.unix,
        )
        self._world.tell(process, event)

    def _fetch(self, process: Process, effect: FetchSnapshot) -> None:
        holder = self._world.processes[effect.node]
        reachable = self._world.wires.of(process.name, effect.node) is not None
        applied = holder.disk.applied
        if not (process.alive and holder.awake and reachable) or applied < effect.upto.position:
            return
        mark, voters = holder.disk.mark(applied), holder.disk.voters_at(applied)
        process.disk.fetched[mark] = voters, holder.disk.facts
        self._world.tell(process, SnapshotFetched(upto=mark, voters=voters))

    def _recall(self, process: Process, effect: fx.Recall) -> None:
        self.recalls.append(effect)
        if self.recalled:
            event = ev.Recalled(evaluation=effect.evaluation, project=effect.project, seconds=self.recalled)
            self._world.later(0.001, lambda: self._world.tell(process, event))

    def _stop(self, process: Process) -> None:
        # Who keeps its seat (it holds the log alone, or all stop at once) is as one switched off: what it
        # ran goes on when it is started again.
        process.stopped = not any(process.name in voters for voters in process.core.required_voters())
        assert not (process.stopped and process.runners), f"{process.name} stops while its runners live"
        process.runners.clear()
        self._world.say(f"{process.name} stops")
        self._write(process, process.batch)
        while process.writing and not isinstance(process.writing[0], ALONE):
            self._write(process, [process.writing.popleft()])
        for node in list(self._world.processes):
            self._world.wires.disconnect(process, node)
        process.alive = False
        self._world.wires.died(process)
