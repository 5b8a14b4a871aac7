"""Carrying out ``Dial``: one attempt at one node, in a greenlet, with an end in any case."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from node.core import events as ev
from node.core.effects import Dial
from node.net.links import Links
from proto.errors import ProtocolError


class Dialling:
    """``seconds``: an attempt that takes longer is unanswered."""

    def __init__(self, links: Links, post: Callable[[ev.AnyEvent], None], seconds: float) -> None:
        self._links = links
        self._post = post
        self._seconds = seconds

    def dial(self, effect: Dial) -> None:
        """Try; ``Dialled`` is posted in the end, after the ``PeerUp`` of a connection that came of it."""
        gevent.spawn(self._dial, effect)

    def _dial(self, effect: Dial) -> None:
        known = self._links.fresh(effect.node)
        if known is not None:
            # Its handshake is the answer. Another connection would replace this one, at both ends, and
            # each end would then ask anew whether the other lives.
            self._post(ev.Dialled(node=effect.node, how="answered", incarnation=known.incarnation))
            return
        event = ev.Dialled(node=effect.node, how="unanswered")
        try:
            with gevent.Timeout(self._seconds, TimeoutError("it does not answer")):
                peer = self._links.connect(effect.address)
        except ConnectionRefusedError:
            event = ev.Dialled(node=effect.node, how="refused")
        except (OSError, ProtocolError):
            # Silence, or somebody else: neither says anything about the node.
            event = ev.Dialled(node=effect.node, how="unanswered")
        else:
            if peer.identity.node == effect.node:
                event = ev.Dialled(node=effect.node, how="answered", incarnation=peer.incarnation)
        self._post(event)
