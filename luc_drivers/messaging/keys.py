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

"""Key files of a host (rules D1, D2).

The folder ``[bus]keys_dir`` holds

* ``HOST.secret``: this host's CURVE key, which it shows when it connects,
  and its Ed25519 key, which signs what its processes register;
* ``allowed/*.key``: the public halves of all hosts that may take part, each
  with the plane (control or agent) that it may register in. A host may have
  several, so that keys can be changed one host at a time;
* ``store.secret``: AES keys of stored bodies, the same on all hosts, one a
  line: the first seals, all open.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import stat

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
import zmq
from zmq.utils import z85

from luc_drivers.messaging.matchmaker import base

STORE_FILE = 'store.secret'
ALLOWED = 'allowed'
_HOST = re.compile(r'^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$')


class KeyFileError(base.MatchmakerError):
    """A key file is missing, malformed or not safe; the text says which."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostKey:
    """The public half of a host's keys."""

    host: str
    curve: str
    """CURVE public key, Z85."""
    sign: str
    """Ed25519 public key, hex."""
    plane: str = base.AGENT

    @property
    def fingerprint(self) -> str:
        """Return what people compare, and what tells keys apart."""
        return hashlib.sha256(
            (self.curve + self.sign).encode()).hexdigest()[:16]

    @property
    def user_id(self) -> str:
        """Return the ZAP user id of whoever shows this key."""
        return '%s/%s' % (self.host, self.fingerprint)


@dataclasses.dataclass(frozen=True, slots=True)
class HostSecret:
    """A host's keys."""

    public: HostKey
    curve: str
    """CURVE secret key, Z85."""
    sign: str
    """Ed25519 private key, hex."""

    def signer(self) -> ed25519.Ed25519PrivateKey:
        """Return the key that signs."""
        return ed25519.Ed25519PrivateKey.from_private_bytes(
            bytes.fromhex(self.sign))


def generate(host: str, plane: str = base.AGENT) -> HostSecret:
    """Make the keys of a host.

    :param plane: control if it serves control topics (``base.CONTROL``).
    """
    if not _HOST.match(host):
        raise KeyFileError('%r is no host name' % host)
    public, secret = (part.decode() for part in zmq.curve_keypair())
    sign = ed25519.Ed25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    return HostSecret(
        HostKey(host, public, sign.public_key().public_bytes(
            raw, serialization.PublicFormat.Raw).hex(), plane),
        secret, sign.private_bytes(
            raw, serialization.PrivateFormat.Raw,
            serialization.NoEncryption()).hex())


def _write(path: str, text: str, mode: int) -> None:
    """Write a file so that it is whole and never readable too widely."""
    temporary = '%s.%d' % (path, os.getpid())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, 'w') as f:
            f.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def save(folder: str, secret: HostSecret) -> str:
    """Store a host's keys and allow them; return the secret's path.

    :raises KeyFileError: the folder can't be written.
    """
    try:
        os.makedirs(os.path.join(folder, ALLOWED), mode=0o750, exist_ok=True)
        path = os.path.join(folder, secret.public.host + '.secret')
        _write(path, json.dumps({
            'public': dataclasses.asdict(secret.public),
            'curve': secret.curve, 'sign': secret.sign}, indent=1) + '\n',
            0o640)
    except OSError as e:
        raise KeyFileError('[bus]keys_dir %s: %s' % (folder, e)) from e
    allow(folder, secret.public)
    return path


def allow(folder: str, key: HostKey) -> str:
    """Let a host take part; return the path of its file."""
    path = os.path.join(folder, ALLOWED, '%s.%s.key' % (key.host,
                                                        key.fingerprint))
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        _write(path, json.dumps(dataclasses.asdict(key), indent=1) + '\n',
               0o644)
    except OSError as e:
        raise KeyFileError('[bus]keys_dir %s: %s' % (folder, e)) from e
    return path


def revoke(folder: str, host: str, fingerprint: str | None = None) -> int:
    """Shut a host out, or one key of it; return how many keys that were."""
    gone = 0
    for path, key in _allowed_files(folder):
        if key.host == host and fingerprint in (None, key.fingerprint):
            os.unlink(path)
            gone += 1
    return gone


def _allowed_files(folder: str) -> list[tuple[str, HostKey]]:
    where = os.path.join(folder, ALLOWED)
    found = []
    try:
        names = sorted(os.listdir(where))
    except FileNotFoundError:
        return []
    except OSError as e:
        raise KeyFileError('[bus]keys_dir %s: %s' % (folder, e)) from e
    for name in names:
        if name.endswith('.key'):
            path = os.path.join(where, name)
            found.append((path, _public(path, _read(path))))
    return found


def allowed(folder: str) -> dict[str, HostKey]:
    """Return the keys that are allowed, by CURVE public key.

    :raises KeyFileError: a file is malformed.
    """
    return {key.curve: key for _, key in _allowed_files(folder)}


def _read(path: str) -> dict:
    try:
        with open(path) as f:
            value = json.load(f)
    except FileNotFoundError as e:
        raise KeyFileError(
            '%s does not exist: make this host\'s keys with "luc bus keys '
            'create", or set [bus]keys_dir' % path) from e
    except (OSError, ValueError) as e:
        raise KeyFileError('key file %s: %s' % (path, e)) from e
    if not isinstance(value, dict):
        raise KeyFileError('key file %s is malformed' % path)
    return value


def _public(path: str, value: dict) -> HostKey:
    try:
        key = HostKey(**value)
        z85.decode(key.curve)
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.sign))
    except (TypeError, ValueError, AttributeError) as e:
        raise KeyFileError('key file %s is malformed: %s' % (path, e)) from e
    if (len(key.curve) != 40 or not _HOST.match(key.host)
            or key.plane not in (base.CONTROL, base.AGENT)):
        raise KeyFileError('key file %s is malformed' % path)
    return key


def load_public(path: str) -> HostKey:
    """Read a ``.key`` file."""
    return _public(path, _read(path))


def _check_private(path: str) -> None:
    """Refuse a secret that everyone may read."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if mode & stat.S_IRWXO:
        raise KeyFileError('everyone may read %s: chmod o-rwx it, and make '
                           'new keys if the host has other users' % path)


def load(folder: str, host: str) -> HostSecret:
    """Read this host's keys.

    :raises KeyFileError: there are none, or everyone may read them.
    """
    path = os.path.join(folder, host + '.secret')
    value = _read(path)
    _check_private(path)
    try:
        return HostSecret(_public(path, value['public']), value['curve'],
                          value['sign'])
    except (KeyError, TypeError) as e:
        raise KeyFileError('key file %s is malformed: %s' % (path, e)) from e


def add_store_key(folder: str) -> str:
    """Make a new key for stored bodies; older ones still open.

    :returns: the path of the file, which all hosts must get.
    """
    path = os.path.join(folder, STORE_FILE)
    try:
        os.makedirs(folder, mode=0o750, exist_ok=True)
        older = []
        if os.path.exists(path):
            with open(path) as f:
                older = f.read().split()
        _write(path, '\n'.join([os.urandom(32).hex(), *older]) + '\n', 0o640)
    except OSError as e:
        raise KeyFileError('[bus]keys_dir %s: %s' % (folder, e)) from e
    return path


def load_store_keys(folder: str) -> list[bytes]:
    """Read the keys of stored bodies; the first one seals."""
    path = os.path.join(folder, STORE_FILE)
    try:
        with open(path) as f:
            found = [bytes.fromhex(line) for line in f.read().split()]
    except FileNotFoundError as e:
        raise KeyFileError('%s does not exist: copy it from another host, or '
                        'make the first one with "luc bus keys create"'
                        % path) from e
    except (OSError, ValueError) as e:
        raise KeyFileError('key file %s: %s' % (path, e)) from e
    _check_private(path)
    if not found or any(len(key) != 32 for key in found):
        raise KeyFileError('key file %s: each line must be 64 hexadecimal '
                        'digits' % path)
    return found
