# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Store and forward: casts wait in the receiver's site (rules C8 to C11).

The hand-over has no gap: the sender stores a message and *then* reads the
registration again, the server registers as draining, empties its mailbox,
registers as live, and empties it again.  Whoever comes second sees the
other.  A message is removed under a claim before it is delivered, so it is
delivered once; a process that dies in between loses those it had removed,
as one does that had acknowledged them to a broker.
"""

from collections.abc import Callable
import dataclasses
import logging
import os
import threading
import time
import typing as ty
import uuid

from luc_drivers.messaging.matchmaker import base

LOG = logging.getLogger(__name__)

#: Seconds for which a count of a mailbox is believed.
_COUNT_AGE = 5.0


class MailboxFull(base.MatchmakerError):
    """The mailbox holds as many messages as it may."""


class Cipher(ty.Protocol):
    """What encrypts bodies in the store (``security.BodyCipher``)."""

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt and authenticate, bound to ``about``."""

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Undo ``seal``; ValueError if anything was changed."""


_last_id = 0
_id_lock = threading.Lock()


def _renew_lock() -> None:
    global _id_lock
    _id_lock = threading.Lock()


# A thread of the parent may hold it at the fork.
os.register_at_fork(after_in_child=_renew_lock)


def new_id(origin: str, seq: int) -> str:
    """Return the id under which a message is stored.

    Made once per message: another attempt to store it must use it again.

    :param origin: the sending instance.
    :param seq: the message's number there.
    :returns: text that sorts by time within this process.
    """
    global _last_id
    with _id_lock:
        _last_id = max(time.time_ns() // 1000, _last_id + 1)
        return '%016x-%s-%x' % (_last_id, origin, seq)


def about(box: base.Box, message_id: str) -> bytes:
    """Return what a stored body is bound to, so none can be moved."""
    return '\0'.join(('mailbox', box.namespace, box.exchange, box.topic,
                      box.server, message_id)).encode()


def check_size(settings: ty.Any, body: bytes) -> None:
    """Refuse a body that the store would not take."""
    if len(body) > settings.store_max_message_size:
        raise base.MatchmakerRefused(
            'a message of %d bytes is too large to be stored '
            '([bus]store_max_message_size is %d)'
            % (len(body), settings.store_max_message_size))


class Mailbox:
    """Puts into and empties mailboxes."""

    def __init__(self, matchmaker: base.Matchmaker, settings: ty.Any,
                 cipher: Cipher | None = None) -> None:
        self.matchmaker = matchmaker
        self.settings = settings
        self.cipher = cipher
        # Box and site -> (estimated depth, when it was counted).
        self._depths: dict[tuple[base.Box, str | None],
                           tuple[int, float]] = {}

    def put(self, box: base.Box, message_id: str, body: bytes,
            suspect: str = '', site: str | None = None) -> list[base.Route]:
        """Store a message for a server that can't be reached now.

        :param message_id: of ``new_id``.
        :param suspect: the instance that may have got it already; it alone
            gets it from the mailbox as long as it is registered.
        :param site: where the server is registered; None is the own site.
        :returns: live listeners that must be poked: they may have looked
            into the mailbox before the message was in it.
        :raises MailboxFull: nothing was stored.
        :raises MatchmakerRefused: it is too large to be stored.
        """
        check_size(self.settings, body)
        self._check_depth(box, site)
        if self.cipher is not None:
            body = self.cipher.seal(body, about(box, message_id))
        self.matchmaker.mailbox_put(
            box, base.StoredMessage(message_id, body, suspect),
            self.settings.mailbox_ttl, site)
        routes = self.matchmaker.lookup(
            box.namespace, box.exchange, box.topic, box.server or None,
            site=site)
        return [r for r in routes if r.endpoint.state == base.LIVE]

    def _check_depth(self, box: base.Box, site: str | None) -> None:
        """Refuse when full, counting seldom: a count reads all rows."""
        limit = self.settings.mailbox_max_messages
        depth, when = self._depths.get((box, site), (limit, 0.0))
        now = time.monotonic()
        if depth >= limit or now - when > _COUNT_AGE:
            depth = self.matchmaker.mailbox_depth(box, limit, site)
            when = now
            if len(self._depths) > 1000:
                self._depths.clear()
        if depth >= limit:
            raise MailboxFull(
                'the mailbox of %s on topic %s holds %d messages already '
                '([bus]mailbox_max_messages)'
                % (box.server or 'any server', box.topic, depth))
        self._depths[(box, site)] = depth + 1, when

    def drain(self, box: base.Box, instance: str,
              deliver: Callable[[base.StoredMessage], ty.Any],
              limit: int | None = None,
              wanted: Callable[[], bool] = lambda: True) -> int | None:
        """Empty a mailbox of the own site.

        :param instance: the caller's instance id.
        :param deliver: is given each message, removed already, in order.
            It must not raise: what it refuses is lost.
        :param limit: deliver no more than this many.
        :param wanted: asked before each batch: go on?
        :returns: how many were delivered; None if another process is
            emptying the mailbox.
        """
        if limit == 0 or not self.matchmaker.mailbox_fetch(box, 1):
            return 0
        owner = '%s/%s' % (instance, uuid.uuid4().hex)
        if not self.matchmaker.mailbox_claim(box, owner,
                                             self.settings.mailbox_lease):
            return None
        count = 0
        try:
            while wanted() and (limit is None or count < limit):
                got = self._drain_pass(box, instance, owner, deliver,
                                       None if limit is None
                                       else limit - count, wanted)
                count += got
                # What was stored meanwhile may sort before what we read.
                if not got:
                    break
        finally:
            try:
                self.matchmaker.mailbox_release(box, owner)
            except base.MatchmakerUnavailable as e:
                LOG.info('The claim on mailbox %s ends by itself in at most '
                         '%g s: %s', box, self.settings.mailbox_lease, e)
        return count

    def _drain_pass(self, box: base.Box, instance: str, owner: str,
                    deliver: Callable[[base.StoredMessage], ty.Any],
                    limit: int | None, wanted: Callable[[], bool]) -> int:
        count, after = 0, ''
        while wanted() and (limit is None or count < limit):
            size = self.settings.mailbox_batch
            if limit is not None:
                size = min(size, limit - count)
            batch = self.matchmaker.mailbox_fetch(box, size, after)
            if not batch:
                break
            after = batch[-1].id
            mine = [m for m in batch if self._may_have(m, instance)]
            if mine and not self.matchmaker.mailbox_take(
                    box, owner, [m.id for m in mine]):
                LOG.info('Lost the claim on mailbox %s; another process '
                         'goes on with it', box)
                break
            for message in mine:
                opened = self._open(box, message)
                if opened is not None:
                    deliver(opened)
                    count += 1
        return count

    def _may_have(self, message: base.StoredMessage, instance: str) -> bool:
        """Return whether this instance may take a message (rule C8)."""
        if message.suspect in ('', instance):
            return True
        other = self.matchmaker.endpoint(message.suspect)
        return other is None or other.state == base.STOPPED

    def _open(self, box: base.Box, message: base.StoredMessage
              ) -> base.StoredMessage | None:
        if self.cipher is None:
            return message
        try:
            body = self.cipher.open(message.body, about(box, message.id))
        except ValueError as e:
            LOG.error('Dropped message %s of mailbox %s: %s',
                      message.id, box, e)
            return None
        return dataclasses.replace(message, body=body)
