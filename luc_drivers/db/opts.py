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

"""Options of the database layer in the host's file, group ``[database]``."""

from oslo_config import cfg

GROUP = 'database'

store_opts = [
    cfg.StrOpt(
        'store', default='cassandra',
        help='Where databases are kept: "cassandra"; "embedded", SQLite '
             'files for one host and for tests; or another name that is '
             'registered under luc_drivers.stores. store= in a connection '
             'URL wins.'),
    cfg.StrOpt(
        'path',
        help='Folder of the embedded store: one file per database. Unset: '
             '"databases" under state_path. path= in a connection URL wins.'),
    cfg.StrOpt(
        'keyspace_template', default='{database}_{locality}',
        help='Name of the Cassandra keyspace that holds a locality of a '
             'database. Large clouds use luc_{locality}, so that all '
             'databases share the tables of a locality. Not to be changed '
             'once there is data.'),
    cfg.IntOpt(
        'fresh_ttl', default=3600, min=1,
        help='Seconds after which Cassandra forgets what was written to a '
             'fresh name space (fresh=1 in a URL; for tests).'),
]

transaction_opts = [
    cfg.FloatOpt(
        'commit_timeout', default=10.0, min=0.1,
        help='Seconds for which a commit waits for locks of others and '
             'replays its transaction before the caller gets an error that '
             'services retry (DBDeadlock).'),
    cfg.FloatOpt(
        'lock_timeout', default=5.0, min=0.1,
        help='Seconds for which a lock must be seen unchanged before others '
             'take its transaction for dead and finish or undo it.'),
    cfg.FloatOpt(
        'index_removal_delay', default=5.0, min=0.0,
        help='Seconds after a commit at which outdated index entries are '
             'removed. A statement that reads several entries for longer '
             'than this starts over.'),
    cfg.FloatOpt(
        'max_clock_skew', default=10.0, min=0.1,
        help='Seconds by which the clocks of two hosts may differ. '
             'Transactions from further in the future are refused.'),
    cfg.BoolOpt(
        'remember_reads', default=True,
        help='A process remembers where transactions found what they read '
             'after a statement, and reads that together with the statement '
             'the next time: fewer rounds, but a later SELECT may then show '
             'rows as they were at an earlier statement of its transaction, '
             'as at MySQL\'s default isolation level. Off: only what the '
             'profile of a service names is read ahead.'),
]


def list_opts() -> list:
    """Return (group, options) pairs, for oslo-config-generator."""
    return [(GROUP, store_opts + transaction_opts)]
