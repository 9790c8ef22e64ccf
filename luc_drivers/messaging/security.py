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

"""CURVE between peers, AES-GCM in the store, signed registrations.

A process that listens has a CURVE key of its own, made when it starts and
signed by its host's key in its registration; so nobody can register what
isn't his, and a process that inherits a port can't be taken for the last
one (rules B5, D2).  A process that connects shows its host's key, which the
other side looks up in its folder of allowed keys (rule D2).
"""

import collections
import hashlib
import os
import socket as system_socket
import time
import typing as ty

from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.ciphers import aead
import zmq
from zmq.utils import z85

from luc_drivers.messaging import keys
from luc_drivers.messaging.matchmaker import base

ZAP_ENDPOINT = 'inproc://zeromq.zap.01'
ZAP_DOMAIN = b'luc'

_SEALED = b'\x01'
_KEY_ID = 4
_NONCE = 12


class SecurityError(base.MatchmakerError):
    """A peer can't be trusted; the text says why."""


def host_name(settings: ty.Any) -> str:
    """Return this host's name: ``[bus]host``, or the system's."""
    return settings.host or system_socket.gethostname()


class BodyCipher:
    """AES-256-GCM of what lies in the store (rule D1).

    Sealed: version byte, 4 bytes that name the key, nonce, ciphertext.
    """

    def __init__(self, folder: str, reload: float) -> None:
        """:param reload: seconds between looks for new keys."""
        self._folder = folder
        self._reload = reload
        self._load()

    def _load(self) -> None:
        found = keys.load_store_keys(self._folder)
        self._keys = {hashlib.sha256(key).digest()[:_KEY_ID]:
                      aead.AESGCM(key) for key in found}
        self._first = next(iter(self._keys))
        self._loaded = time.monotonic()

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt; only the same ``about`` will open it."""
        if time.monotonic() - self._loaded > self._reload:
            self._load()
        nonce = os.urandom(_NONCE)
        return b''.join((_SEALED, self._first, nonce,
                         self._keys[self._first].encrypt(nonce, plain,
                                                         about)))

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Decrypt.

        :raises ValueError: it was sealed with an unknown key, or changed,
            or stored for something else.
        """
        head = 1 + _KEY_ID
        if sealed[:1] != _SEALED or len(sealed) < head + _NONCE + 16:
            raise ValueError('the stored body is not encrypted')
        name = sealed[1:head]
        if name not in self._keys:
            self._load()
        cipher = self._keys.get(name)
        if cipher is None:
            raise ValueError(
                'the stored body was encrypted with a key that is not in '
                '%s in [bus]keys_dir' % keys.STORE_FILE)
        try:
            return cipher.decrypt(sealed[head:head + _NONCE],
                                  sealed[head + _NONCE:], about)
        except exceptions.InvalidTag:
            raise ValueError('the stored body was tampered with') from None


class AllowList:
    """The hosts that may take part, read again when the folder changes."""

    def __init__(self, folder: str, reload: float) -> None:
        self._folder = folder
        self._reload = reload
        self._looked = float('-inf')
        self._seen: tuple | None = None
        self._last_error = ''
        self.errors: collections.deque[str] = collections.deque(maxlen=10)
        """Why the last looks failed; for whoever may log."""
        self.by_curve: dict[str, keys.HostKey] = {}
        self.by_user: dict[str, keys.HostKey] = {}
        self.by_host: dict[str, list[keys.HostKey]] = {}
        self.refresh()
        if self._last_error:
            raise keys.KeyFileError('[bus]keys_dir: %s' % self._last_error)

    def refresh(self) -> bool:
        """Look for changes, if it is time; return whether there were any.

        A malformed file leaves the list as it was: a slip of the pen must
        not shut everyone out.
        """
        now = time.monotonic()
        if now - self._looked < self._reload:
            return False
        self._looked = now
        try:
            with os.scandir(os.path.join(self._folder,
                                         keys.ALLOWED)) as entries:
                seen = tuple(sorted(
                    (e.name, e.stat().st_mtime_ns) for e in entries))
            if seen == self._seen:
                return False
            found = keys.allowed(self._folder)
        except (OSError, keys.KeyFileError) as e:
            if str(e) != self._last_error:
                self._last_error = str(e)
                self.errors.append('the allowed keys are kept as they were: '
                                   '%s' % e)
            return False
        self._seen, self._last_error = seen, ''
        by_host: dict[str, list[keys.HostKey]] = {}
        for key in found.values():
            by_host.setdefault(key.host, []).append(key)
        self.by_user = {key.user_id: key for key in found.values()}
        self.by_host = by_host
        self.by_curve = found
        return True


class Zap:
    """Answers libzmq's questions who may connect (RFC 27).

    It must exist before a socket that uses it is bound.  ``handle`` never
    blocks, never logs and takes no locks: it may run in the I/O thread,
    whenever ``socket`` is readable.
    """

    def __init__(self, context: zmq.Context, allowed: AllowList) -> None:
        self._allowed = allowed
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)

    def handle(self) -> list[str]:
        """Answer all questions that wait.

        :returns: a line for the log about each peer that was refused.
        """
        refused = []
        self._allowed.refresh()
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            split = frames.index(b'') + 1 if b'' in frames else 1
            route, question = frames[:split], frames[split:]
            status, user, why = self._judge(question)
            request = question[1] if len(question) > 1 else b''
            self.socket.send_multipart(
                [*route, b'1.0', request, status,
                 b'' if status == b'200' else b'refused', user, b''],
                zmq.DONTWAIT)
            if why:
                refused.append(why)
        while self._allowed.errors:
            refused.append(self._allowed.errors.popleft())
        return refused

    def _judge(self, question: list[bytes]) -> tuple[bytes, bytes, str]:
        if len(question) < 6 or question[0] != b'1.0':
            return b'500', b'', 'malformed ZAP request'
        address = question[3].decode(errors='replace')
        mechanism = question[5].decode(errors='replace')
        if mechanism != 'CURVE' or len(question) < 7:
            return (b'400', b'',
                    'refused %s: it uses %s, not CURVE: set [bus]security '
                    'there' % (address, mechanism))
        if len(question[6]) != 32:
            return b'500', b'', 'malformed ZAP request'
        public = z85.encode(question[6])
        key = self._allowed.by_curve.get(public.decode())
        if key is None:
            return (b'400', b'', 'refused %s: its key %s is not among the '
                    'allowed ones in [bus]keys_dir'
                    % (address, public.decode()))
        return b'200', key.user_id.encode(), ''

    def close(self) -> None:
        """Stop answering: nobody new can connect."""
        self.socket.close(0)


class Security:
    """What ``[bus]security`` asks for; does nothing when that is none.

    One for each node: a forked child needs another.
    """

    def __init__(self, settings: ty.Any) -> None:
        """:raises keys.KeyFileError: a key is missing or malformed."""
        self.enabled = settings.security == 'curve'
        self.host = host_name(settings)
        self.public_key = ''
        """CURVE key of this process, for its registration."""
        self.cipher: BodyCipher | None = None
        self._verified: dict[str, tuple[bytes, str]] = {}
        if self.enabled:
            folder = settings.keys_dir
            self._secret = keys.load(folder, self.host)
            self.allowed = AllowList(folder, settings.keys_reload)
            self.cipher = BodyCipher(folder, settings.keys_reload)
            public, self._process_secret = zmq.curve_keypair()
            self.public_key = public.decode()

    def server(self, socket: zmq.Socket) -> None:
        """Set up a socket that will be bound."""
        if self.enabled:
            socket.curve_server = True
            socket.curve_secretkey = self._process_secret
            socket.zap_domain = ZAP_DOMAIN
            # Without it a context that lacks a handler lets all in (B8).
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def client(self, socket: zmq.Socket, endpoint: base.Endpoint) -> None:
        """Set up a socket that will be connected to an endpoint.

        :raises SecurityError: the endpoint can't be trusted.
        """
        if self.enabled:
            self.check(endpoint)
            socket.curve_serverkey = endpoint.curve_key.encode()
            socket.curve_publickey = self._secret.public.curve.encode()
            socket.curve_secretkey = self._secret.curve.encode()

    def authenticator(self, context: zmq.Context) -> Zap | None:
        """Return the context's handler, to be made before any bind."""
        return Zap(context, self.allowed) if self.enabled else None

    def user_allowed(self, user_id: str) -> bool:
        """Return whether a connection may go on to be used (rule B10)."""
        if not self.enabled:
            return True
        self.allowed.refresh()
        return user_id in self.allowed.by_user

    def sign(self, endpoint: base.Endpoint) -> base.Endpoint:
        """Return an endpoint of this process, signed by its host's key."""
        if not self.enabled:
            return endpoint
        endpoint = endpoint.replace(host=self.host,
                                    curve_key=self.public_key)
        return endpoint.replace(signature=self._secret.signer().sign(
            endpoint.signed_bytes()).hex())

    def verify(self, endpoint: base.Endpoint) -> bool:
        """Return whether an endpoint was registered by its own host."""
        try:
            self.check(endpoint)
        except SecurityError:
            return False
        return True

    def check(self, endpoint: base.Endpoint) -> None:
        """Refuse an endpoint that its host did not sign.

        :raises SecurityError: says why.
        """
        if not self.enabled:
            return
        self.allowed.refresh()
        signed = endpoint.signed_bytes()
        known = self._verified.get(endpoint.instance)
        for key in self.allowed.by_host.get(endpoint.host, []):
            if endpoint.plane == base.CONTROL and key.plane != base.CONTROL:
                continue
            if known == (signed + endpoint.signature.encode(), key.sign):
                return
            try:
                ed25519.Ed25519PublicKey.from_public_bytes(
                    bytes.fromhex(key.sign)).verify(
                        bytes.fromhex(endpoint.signature), signed)
            except (exceptions.InvalidSignature, ValueError):
                continue
            if len(self._verified) > 20000:
                self._verified.clear()
            self._verified[endpoint.instance] = (
                signed + endpoint.signature.encode(), key.sign)
            return
        raise SecurityError(
            'the registration of %s on host %s (%s) was not signed by an '
            'allowed key of that host%s: see "luc bus keys list"'
            % (endpoint.instance, endpoint.host,
               ', '.join(endpoint.addresses),
               ' with plane = control' if endpoint.plane == base.CONTROL
               else ''))
