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

"""Right under concurrency and faults: histories of real processes, judged.

Several client processes run transactions of all workloads on one database
while faults are injected; each writes what it asked for and what it was told
(`history`), and when all is over each workload's checker decides whether
that can have come from a database that keeps its promises.

Run by ``python -m tests.consistency``; ``--help`` says how.
"""
