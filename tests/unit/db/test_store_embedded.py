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

import multiprocessing
import os
import tempfile
import threading
import time
import unittest
from unittest import mock

import apsw

from luc_drivers.db import errors
from luc_drivers.db.store import base
from luc_drivers.db.store import embedded
from luc_drivers.db.store.base import GroupRead
from luc_drivers.db.store.base import RowKey
from tests import waiting
from tests.unit.db import store_contract
from tests.unit.db.store_contract import insert
from tests.unit.db.store_contract import txid
from tests.unit.db.store_contract import update


def settings(path: str, **more) -> base.StoreSettings:
    return base.StoreSettings(kind='embedded', path=path, **more)


class FreshStoreTest(store_contract.StoreContract,
                     store_contract.FreshContract, unittest.TestCase):

    def setUp(self):
        super().setUp()
        self.store = embedded.EmbeddedStore('test', settings('', fresh=True))
        self.addCleanup(self.store.close)
        self.store.prepare(store_contract.LOCALITIES)

    def test_instances_are_apart(self):
        other = embedded.EmbeddedStore('test', settings('', fresh=True))
        self.store.claim('s', 1)
        self.assertEqual(1, other.claim('s', 1))

    def test_a_forked_child_has_a_copy(self):
        self.store.claim('s', 1)
        context = multiprocessing.get_context('fork')
        queue = context.SimpleQueue()
        child = context.Process(
            target=lambda: queue.put(self.store.claim('s', 10)))
        child.start()
        child.join(20)
        self.assertEqual(2, queue.get())
        self.assertEqual(2, self.store.claim('s', 1))


class FileStoreTest(store_contract.StoreContract, unittest.TestCase):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'new', 'folder')
        self.store = self.open()
        self.store.prepare(store_contract.LOCALITIES)

    def open(self, name='test', **more):
        store = embedded.EmbeddedStore(name, settings(self.path, **more))
        self.addCleanup(store.close)
        return store

    def test_survives_being_closed(self):
        group = self.group()
        self.put(group, insert(RowKey(1, b'a'), txid(1)))
        self.store.close()
        self.assertEqual(1, len(self.get(group)))
        self.assertEqual(1, len(self.open().read([GroupRead(group)])[0]))

    def test_databases_are_apart(self):
        self.store.claim('s', 1)
        for name in ('other', 'te/st', '../test', 'TEST'):
            self.assertEqual(1, self.open(name).claim('s', 1))
        self.assertEqual({'folder'}, set(os.listdir(
            os.path.dirname(self.path))))

    def test_drop_empties_for_all(self):
        other = self.open()
        self.assertEqual(1, other.claim('s', 1))
        self.store.drop()
        self.assertEqual(1, other.claim('s', 1))

    def test_fork_while_open(self):
        """Parent and children go on with the same file, each by its own."""
        self.assertEqual(1, self.store.claim('s', 1))
        context = multiprocessing.get_context('fork')
        queue = context.SimpleQueue()
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                self.store.claim('busy', 1)

        def child():
            queue.put([self.store.claim('s', 1) for __ in range(100)])
        thread = threading.Thread(target=busy)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        children = [context.Process(target=child) for __ in range(3)]
        for process in children:
            process.start()
        drawn = [self.store.claim('s', 1) for __ in range(100)]
        for __ in children:
            drawn += queue.get()
        for process in children:
            process.join(20)
            self.assertEqual(0, process.exitcode)
        self.assertEqual(set(range(2, 402)), set(drawn))

    def test_the_files_connection_does_not_cross_a_fork(self):
        self.store.claim('s', 1)
        self.assertIsNotNone(self.store._sqlite)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if self.store._sqlite is None else 1)
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        self.assertEqual(2, self.store.claim('s', 1))

    def test_fork_behind_pythons_back(self):
        """uWSGI forks in C: only the pid tells."""
        self.store.claim('s', 1)
        mine = self.store._sqlite
        self.addCleanup(mine.close)
        with mock.patch.object(os, 'getpid', return_value=-1):
            self.assertEqual(2, self.store.claim('s', 1))
            self.assertIsNot(mine, self.store._sqlite)
        self.assertEqual([mine], self.store._inherited)

    def test_killed_writer_leaves_nothing_half_done(self):
        group = self.group()
        keys = [RowKey(1, b'%d' % n) for n in range(50)]
        self.put(group, *[insert(k, txid(1)) for k in keys])
        context = multiprocessing.get_context('fork')

        def child():
            for number in range(2, 10 ** 9):
                self.put(group, *[update(k, txid(number - 1), txid(number))
                                  for k in keys])
        process = context.Process(target=child)
        process.start()
        waiting.until(
            lambda: self.get(group)[0].version != txid(1), 20.0)
        process.kill()
        process.join(20)
        self.assertEqual(1, len({r.version for r in self.get(group)}))
        version = self.get(group)[0].version
        self.assertEqual(base.Outcome.APPLIED, self.put(
            group, update(keys[0], version, txid(1))))

    def test_busy_writer_is_waited_for(self):
        self.store.claim('s', 1)
        other = apsw.Connection(self.store.file)
        self.addCleanup(other.close)
        other.execute('BEGIN IMMEDIATE')
        timer = threading.Timer(0.2, lambda: other.execute('COMMIT'))
        timer.start()
        self.addCleanup(timer.join)
        self.assertEqual(2, self.store.claim('s', 1))

    def test_locked_for_too_long(self):
        self.store.claim('s', 1)
        other = apsw.Connection(self.store.file)
        self.addCleanup(other.close)
        other.execute('BEGIN IMMEDIATE')
        impatient = self.open(request_timeout=0.1)
        with self.assertRaisesRegex(
                errors.StoreUnavailable,
                r'test\.luc.*locked for 0\.1 s.*request_timeout'):
            impatient.claim('s', 1)
        self.assertEqual([], impatient.catalog_read())
        other.execute('ROLLBACK')
        self.assertEqual(2, impatient.claim('s', 1))

    def test_no_such_folder(self):
        with open(os.path.join(self.path, 'file'), 'w'):
            pass
        store = embedded.EmbeddedStore(
            'test', settings(os.path.join(self.path, 'file')))
        with self.assertRaisesRegex(
                errors.StoreUnavailable, r'file/test\.luc.*path'):
            store.prepare(())

    def test_not_a_database(self):
        with open(os.path.join(self.path, 'bad.luc'), 'wb') as file:
            file.write(b'no database' * 100)
        with self.assertRaisesRegex(errors.StoreUnavailable, 'bad.luc'):
            self.open('bad').prepare(())

    def test_a_later_format_is_refused(self):
        sqlite = apsw.Connection(os.path.join(self.path, 'later.luc'))
        sqlite.pragma('user_version', 99)
        sqlite.close()
        with self.assertRaisesRegex(errors.StoreUnavailable, 'format 99'):
            self.open('later').prepare(())

    def test_vanished_things_are_purged(self):
        group = self.group()
        self.put(group, insert(RowKey(1, b'a'), txid(1), None, ttl=1),
                 insert(RowKey(1, b'b'), txid(1), None, ttl=100))
        self.store.remove_index([self.entry(b'old')], 1)
        now = time.time() + embedded.REMEMBER_REMOVAL - 1
        with mock.patch.object(time, 'time', return_value=now):
            self.store._vanishing = embedded._PURGE_EVERY
            self.store.remove_index([self.entry(b'new')], 1)
        count = self.store._sqlite.execute(
            'SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM idx)'
        ).fetchone()
        self.assertEqual((0, 2), count)
        now += 2
        with mock.patch.object(time, 'time', return_value=now):
            self.store._vanishing = embedded._PURGE_EVERY
            self.store.remove_index([self.entry(b'new')], 2)
        count = self.store._sqlite.execute(
            'SELECT count(*) FROM idx').fetchone()
        self.assertEqual((1,), count)
