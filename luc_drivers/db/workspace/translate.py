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

"""From apsw's exceptions to PEP 249's, worded as the sqlite3 module's."""

import apsw

from luc_drivers.db import errors

_CLASSES: tuple[tuple[type[apsw.Error], type[errors.Error]], ...] = (
    (apsw.ConstraintError, errors.IntegrityError),
    (apsw.MismatchError, errors.IntegrityError),
    (apsw.BindingsError, errors.ProgrammingError),
    (apsw.TooBigError, errors.DataError),
    (apsw.RangeError, errors.InterfaceError),
    (apsw.MisuseError, errors.InterfaceError),
    (apsw.CorruptError, errors.DatabaseError),
    (apsw.InternalError, errors.InternalError),
)


def translate(error: apsw.Error) -> errors.Error:
    """Return the PEP 249 error of an apsw error.

    It has ``sqlite_errorcode`` and ``sqlite_errorname``, as sqlite3's.
    """
    kind: type[errors.Error] = errors.OperationalError
    for ours, theirs in _CLASSES:
        if isinstance(error, ours):
            kind = theirs
            break
    text = str(error)
    if isinstance(error, apsw.BindingsError):
        # sqlite3 says the same in its own words
        text = text.partition('  Current')[0].replace('.  The', '. The')
    translated = kind(text)
    code = getattr(error, 'extendedresult', None)
    if code is not None:
        name = apsw.mapping_extended_result_codes.get(
            code, apsw.mapping_result_codes.get(code & 0xFF))
        translated.sqlite_errorcode = code  # type: ignore[attr-defined]
        translated.sqlite_errorname = name  # type: ignore[attr-defined]
    return translated


def binding_error(error: Exception) -> errors.Error | Exception:
    """Return the error for parameters that can't be bound."""
    if isinstance(error, KeyError):
        return errors.ProgrammingError(
            'You did not supply a value for binding parameter '
            f':{error.args[0]}.')
    if isinstance(error, TypeError):
        return errors.ProgrammingError(f'Error binding parameter: {error}')
    return error
