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

"""Exceptions of the database layer.

The classes of PEP 249 carry messages worded as sqlite3's, because oslo.db
recognises them by their text; the others stay inside the layer and never
reach a service.
"""


class Warning(Exception):  # noqa: A001
    """PEP 249 Warning."""


class Error(Exception):
    """PEP 249 base of all errors that a caller can see."""


class InterfaceError(Error):
    """The database API itself was misused."""


class DatabaseError(Error):
    """Base of errors that concern the database."""


class DataError(DatabaseError):
    """A value cannot be stored."""


class OperationalError(DatabaseError):
    """The store is not reachable, refuses, or knows no such table."""


class IntegrityError(DatabaseError):
    """A unique, foreign key, check or not-null constraint failed."""


class InternalError(DatabaseError):
    """The layer met a state that it believes impossible."""


class ProgrammingError(DatabaseError):
    """The statement or its parameters are wrong."""


class NotSupportedError(DatabaseError):
    """The statement asks for something that the layer refuses to do."""


class WriteConflict(OperationalError):
    """Another transaction committed first and replay changed the results.

    Becomes oslo.db's DBDeadlock, which services retry.
    """


class OutcomeUnknown(OperationalError):
    """A commit was sent and nobody can tell any more whether it took.

    Never retried by us: the caller must look.
    """


class StoreUnavailable(OperationalError):
    """The store did not answer; nothing was committed."""


# --- inside the layer only


class NeedsCopy(NotSupportedError):
    """DDL that the rows of a table do not allow in place."""


class Refused(Exception):
    """A commit's condition failed: replay may succeed.

    :ivar generated_id: name of the table whose *generated* id was taken, if
        that was the reason (the replay must draw another one).
    """

    def __init__(self, message: str, generated_id: str | None = None) -> None:
        super().__init__(message)
        self.generated_id = generated_id
