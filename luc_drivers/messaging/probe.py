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


"""Ask running processes how they are, for ``luc bus ping`` and ``status``.

What is asked is in ``control``; who is there says the registry.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from concurrent import futures
import typing as ty

from luc_drivers.messaging import control
from luc_drivers.messaging import counters
from luc_drivers.messaging import security
from luc_drivers.messaging.matchmaker import base

#: processes that are asked at a time
_AT_ONCE = 16


def _everywhere(matchmaker: base.Matchmaker, sites: Sequence[str] | None
                ) -> Iterable[tuple[str, list, list, str]]:
    """Give each site's endpoints and subscriptions, or why there are none."""
    for site in sites or matchmaker.sites():
        try:
            yield (site, matchmaker.endpoints(site),
                   matchmaker.subscriptions(site), '')
        except base.MatchmakerUnavailable as e:
            yield site, [], [], str(e)


def _each(function: Callable, items: Iterable) -> list:
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))


def ping(node: ty.Any, name: str, sites: Sequence[str] | None = None,
         count: int = 3, timeout: float = 3.0) -> list[dict[str, ty.Any]]:
    """Measure the way to each process that serves something.

    :param name: a topic, or a server's name.
    :param sites: only these.
    :param count: round trips measured after the first one.
    :param timeout: seconds for each.
    :returns: a row for each process, nearest first within a site: ``cold``
        is the first round trip, with the connection's making if there was
        none, ``best`` and ``mean`` are those after it, all in ms;
        ``problem`` says what went wrong.
    """
    wanted: list[tuple[base.Endpoint, set[str]]] = []
    rows: list[dict[str, ty.Any]] = []
    for site, endpoints, subscriptions, problem in _everywhere(
            node.matchmaker, sites):
        if problem:
            rows.append({'site': site, 'problem': problem})
        names: dict[str, set[str]] = {}
        for sub in subscriptions:
            if name in (sub.topic, sub.server):
                names.setdefault(sub.instance, set()).add(
                    sub.server or sub.pool)
        wanted += [(e, names[e.instance]) for e in endpoints
                   if e.instance in names and e.state != base.STOPPED]

    def measure(item: tuple[base.Endpoint, set[str]]) -> dict[str, ty.Any]:
        endpoint, servers = item
        row = {'site': endpoint.site, 'host': endpoint.host,
               'pid': endpoint.pid, 'program': endpoint.program,
               'server': ' '.join(sorted(servers - {''})),
               'address': endpoint.addresses[0]}
        try:
            cold, about = control.ask(node, endpoint, control.PING, timeout)
            warm = [control.ask(node, endpoint, control.PING, timeout)[0]
                    for _ in range(count)] or [cold]
        except (control.NoAnswer, security.SecurityError) as e:
            return {**row, 'problem': str(e)}
        return {**row, 'release': about.get('release', ''),
                'cold': round(cold * 1000, 2),
                'best': round(min(warm) * 1000, 2),
                'mean': round(sum(warm) / len(warm) * 1000, 2)}

    return rows + sorted(_each(measure, wanted), key=lambda row: (
        row['site'] != node.settings.site, row['site'],
        row.get('best', float('inf'))))


def live(node: ty.Any, rows: list[dict[str, ty.Any]],
         timeout: float = 3.0) -> None:
    """Add to rows of ``admin.servers`` what their processes say.

    Adds ``release``, ``queue`` (messages that wait in the server) and the
    counts of ``counters.EVENTS`` of its topic in that process, or
    ``problem``.
    """
    by_instance: dict[str, list[dict[str, ty.Any]]] = {}
    for row in rows:
        if 'instance' in row:
            by_instance.setdefault(row['instance'], []).append(row)
    sites = sorted({mine[0]['site'] for mine in by_instance.values()})
    found = [e for _site, endpoints, _subs, _problem in _everywhere(
        node.matchmaker, sites) for e in endpoints
        if e.instance in by_instance] if sites else []

    def ask(endpoint: base.Endpoint) -> None:
        mine = by_instance[endpoint.instance]
        try:
            _, said = control.ask(node, endpoint, control.STATE, timeout)
        except (control.NoAnswer, security.SecurityError) as e:
            for row in mine:
                row['problem'] = str(e)
            return
        for row in mine:
            row['release'] = said.get('release', '')
            row['queue'] = sum(q['depth'] for q in said['queues'] if all(
                q[x] == row.get(x) for x in ('namespace', 'exchange',
                                             'topic', 'server')))
            for topic in said['topics']:
                if all(topic[x] == row.get(x)
                       for x in ('namespace', 'exchange', 'topic')):
                    row.update({event: topic.get(event, 0)
                                for event in counters.EVENTS})

    _each(ask, found)
