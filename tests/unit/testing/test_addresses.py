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

"""Loopback addresses for test servers."""

import socket
import subprocess
import sys
import unittest

from luc_drivers.testing import addresses

CLAIM = ('from luc_drivers.testing import addresses\n'
         'print(addresses.claim(), flush=True)\n'
         'input()\n')


class AddressesTest(unittest.TestCase):

    def test_claims_of_several_processes_differ(self):
        claimed = [addresses.claim(), addresses.claim()]
        for _ in range(2):
            other = subprocess.Popen(
                [sys.executable, '-c', CLAIM], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True)
            self.addCleanup(other.communicate, '\n')
            claimed.append(other.stdout.readline().strip())
        self.assertEqual(len(claimed), len(set(claimed)))

    def test_an_address_where_something_listens_is_not_claimed(self):
        address = addresses.claim()
        with socket.socket() as taken:
            taken.bind((address, 7000))
            taken.listen()
            self.assertFalse(addresses.free(address))
        self.assertTrue(addresses.free(address))

    def test_following(self):
        self.assertEqual('127.64.3.3', addresses.following('127.64.3.1', 2))
