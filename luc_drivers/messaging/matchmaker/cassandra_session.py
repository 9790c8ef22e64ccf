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

"""The matchmaker's requests to Cassandra, over the shared ``cql`` session.

Turns its errors into the matchmaker's, and repeats conditional writes until
their outcome is known.
"""

from collections.abc import Callable
from collections.abc import Sequence
import random
import time
import typing as ty

from luc_drivers import cql
from luc_drivers.messaging.matchmaker import base

#: Attempts to learn the outcome of a conditional write.
ATTEMPTS = 4
#: Seconds after an outage was met in which nobody waits for another.
DOWN = 1.0
#: Seconds to wait for tables that another process is creating.
CREATE_WAIT = 20.0

Statement = tuple[str, Sequence[ty.Any]]


def _translate(error: cql.Error) -> base.MatchmakerError:
    if isinstance(error, cql.Refused):
        return base.MatchmakerRefused('%s ([cassandra]username must be a '
                                      'role that may use the registry\'s '
                                      'keyspace; see also [bus]plane)'
                                      % error)
    return base.MatchmakerUnavailable(str(error))


class Session:
    """Runs CQL at QUORUM in this process, whichever that is."""

    def __init__(self, settings: ty.Any) -> None:
        self._settings = cql.from_options(settings.conf.cassandra,
                                          site=settings.site)
        self._timeout = settings.store_timeout
        # When nobody answered last, and why.
        self._down: tuple[float, str] = (float('-inf'), '')

    def _session(self) -> cql.Session:
        return cql.session(self._settings)

    def _execute(self, requests: Sequence[cql.Request]) -> list:
        """Run requests; rows or an error for each.

        While nobody answers, one caller waits now and then, and the others
        are told at once: a hundred threads must not all wait.
        """
        when, why = self._down
        if time.monotonic() - when < DOWN:
            return [cql.Unavailable(why)] * len(requests)
        for request in requests:
            request.timeout = request.timeout or self._timeout
        try:
            results = self._session().execute_many(requests)
        except cql.Error as e:
            results = [e] * len(requests)
        for result in results:
            if isinstance(result, cql.Unavailable):
                self._down = time.monotonic(), str(result)
        return results

    def run(self, text: str, params: Sequence[ty.Any], repeat: bool = True,
            consistency: str = 'QUORUM') -> list[tuple]:
        """Run one statement and return its rows.

        :param repeat: whether it may be sent twice.
        """
        result, = self._execute([cql.Request(
            text, params, consistency=consistency, idempotent=repeat)])
        if isinstance(result, cql.Error):
            raise _translate(result) from result
        return result

    def run_many(self, statements: Sequence[Statement],
                 repeat: bool = True) -> list[list[tuple]]:
        """Run statements in parallel and return the rows of each.

        When one fails, the others may have been carried out.
        """
        if not statements:
            return []
        results = self._execute([
            cql.Request(text, params, consistency='QUORUM',
                        idempotent=repeat)
            for text, params in statements])
        rows: list[list[tuple]] = []
        for result in results:
            if isinstance(result, cql.Error):
                raise _translate(result) from result
            rows.append(result)
        return rows

    def run_if(self, statements: Sequence[Statement],
               ours: Callable[[tuple | None], bool], read: Statement) -> bool:
        """Run a conditional write, in one partition.

        :param statements: with a token that makes it harmless to apply
            them twice; the first has the condition.
        :param ours: tells by a row whether they were applied, for when an
            earlier attempt was left without an answer.
        :param read: gives that row.
        :returns: whether they were applied.
        :raises MatchmakerUnavailable: that can't be found out now.
        """
        if len(statements) == 1:
            text, params = statements[0]
            request = cql.Request(text, params, consistency='QUORUM',
                                  serial='SERIAL')
        else:
            request = cql.Request(batch=statements, consistency='QUORUM',
                                  serial='SERIAL')
        unsettled = False
        for attempt in range(ATTEMPTS):
            if attempt:
                # Contenders in step would pre-empt each other for ever.
                time.sleep(random.uniform(0.01, 0.1) * 2 ** attempt)
            result, = self._execute([request])
            if isinstance(result, cql.Error):
                if cql.not_begun(result) and not unsettled:
                    raise _translate(result) from result
                unsettled = True
                last = result
            elif result[0][0]:
                return True
            elif not unsettled:
                return False
            else:
                # Refused by what an earlier attempt wrote, or by another.
                rows = self.run(*read, consistency='SERIAL')
                return ours(rows[0] if rows else None)
        raise _translate(last) from last

    def create(self, statements: Sequence[str], keyspace: str,
               tables: Sequence[str]) -> None:
        """Make a keyspace and its tables where they are missing.

        :raises MatchmakerRefused: they are missing and this role may not
            make them.
        """
        if self._complete(keyspace, tables):
            return
        # Processes that start together would all create them; nodes that
        # haven't agreed yet may then disagree about a table's id.
        time.sleep(random.uniform(0.0, 1.0))
        deadline = time.monotonic() + CREATE_WAIT
        for statement in statements:
            while not self._complete(keyspace, tables):
                try:
                    self._session().execute(statement, None, timeout=30.0)
                    break
                except cql.Refused as e:
                    raise base.MatchmakerRefused(
                        'the keyspace %s of the transport\'s registry is '
                        'missing or not complete, and this role may not '
                        'create it: run "luc bus create" with one that may, '
                        'or check [DEFAULT]site and [bus]keyspace_prefix '
                        '(%s)' % (keyspace, e)) from e
                except cql.Error as e:
                    if time.monotonic() > deadline:
                        raise _translate(e) from e
                    time.sleep(random.uniform(0.2, 1.0))

    def _complete(self, keyspace: str, tables: Sequence[str]) -> bool:
        found = {name for name, in self.run(
            'SELECT table_name FROM system_schema.tables '
            'WHERE keyspace_name = ?', (keyspace,), consistency='ONE')}
        return found.issuperset(tables)
