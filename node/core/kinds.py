"""Which messages are for whom."""

from __future__ import annotations

from proto import messages as m
from proto import voting as v

VOTING = (
    v.AppendEntries
    | v.AppendAnswer
    | v.InstallSnapshot
    | v.PreVote
    | v.Vote
    | v.VoteAnswer
    | v.Resigned
    | v.LeaveVoters
    | v.Evidence
)
RING = v.RingPing | v.RingPong | v.SilenceQuestion | v.SilenceOpinion
TO_WORKER = m.OpenSession | m.Run | m.Withdraw | m.CloseSession | m.Answered | m.Welcome | v.WantHistory
"""Messages that only a master sends; the worker's side takes them."""
JOINING = m.Join | m.Held | m.HeldRun | m.Reported | m.NotMaster | m.Neighbours | m.Members
"""Messages of nodes that are not, or not yet, members; another master's greeting among them, or two
masters would greet each other for ever."""
FROM_SESSIONS = frozenset(
    (m.Verdicts, m.Started, m.Collected, m.Done, m.Listing, m.SessionOpened, m.HandedBack, m.SessionEnded)
)
"""What a worker's sessions say, for a master only: nearly all messages are of these."""
