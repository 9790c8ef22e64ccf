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

"""Loopback addresses for test servers, each handed out once.

Test processes run side by side, of one checkout or of several: a fixed
address would be taken by two of them one day.  An address lies in a block of
its own, ``127.64.N.1`` … ``127.64.N.254``, so that a cluster's further nodes
count up from the first.
"""

import fcntl
import os
import pathlib
import socket
import tempfile

FIRST, LAST = 1, 254
# What a Cassandra node listens on.
PORTS = (9042, 7000)

# Locked files, one for each block that this process claimed: the lock ends
# with the process.
_claimed: list = []


class NoAddress(Exception):
    """All blocks are taken; the message says by what to look."""


def claim() -> str:
    """Return the first address of a block that nobody else uses.

    It is this process's until the process ends; a server that outlives it
    keeps the block by listening there.

    :raises NoAddress: every block is taken.
    """
    folder = pathlib.Path(tempfile.gettempdir(),
                          f'luc-addresses-{os.getuid()}')
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(FIRST, LAST + 1):
        lock = open(folder / str(number), 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        address = f'127.64.{number}.1'
        if free(address):
            _claimed.append(lock)
            return address
        lock.close()
    raise NoAddress(f'no free block in 127.64.0.0/16: see the locks in '
                    f'{folder} and what listens (ss -ltn)')


def free(address: str, ports: tuple[int, ...] = PORTS) -> bool:
    """Return whether nothing listens on any of these ports there."""
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def following(address: str, steps: int = 1) -> str:
    """Return the address that many after this one in its block."""
    block, _, last = address.rpartition('.')
    return f'{block}.{int(last) + steps}'
