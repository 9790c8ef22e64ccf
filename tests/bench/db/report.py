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

"""What was measured: a file of rows, tables, the plot."""

from collections.abc import Iterable
from collections.abc import Sequence
import json
import pathlib
import statistics
from typing import Any

BASE = 'mariadb'


def summary(parts: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of one function over one store.

    :param parts: what the worker gave for each turn.
    :returns: ms, calls per second, bytes and rounds of a call.
    """
    times = sorted(t for p in parts for t in p['times'])
    mean = {key: statistics.fmean(p[key] for p in parts)
            for key in ('cpu', 'server_cpu', 'sent', 'received', 'rounds')}
    return {
        'p50': round(statistics.median(times) * 1e3, 3),
        'p90': round(times[int(len(times) * 0.9)] * 1e3, 3),
        'mean': round(statistics.fmean(times) * 1e3, 3),
        'calls_per_s': round(len(times) / sum(p['wall'] for p in parts), 1),
        'cpu': round(mean['cpu'] * 1e3, 3),
        'server_cpu': round(mean['server_cpu'] * 1e3, 3),
        'bytes': round(mean['sent'] + mean['received']),
        'rounds': round(mean['rounds'], 2)}


def append(path: pathlib.Path, row: dict[str, Any]) -> None:
    """Add a row to a results file."""
    rows = json.loads(path.read_text()) if path.exists() else []
    rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + '\n')


def line(row: dict[str, Any]) -> str:
    """Return one row as text."""
    base = row['stores'].get(BASE)
    text = f"{row['function']:36}{row['instances']:7} {row['threads']:2}"
    for store, found in row['stores'].items():
        text += f"  {store[:4]} {found['p50']:8.2f} ms"
        if base is not None and store != BASE:
            text += f" ({found['p50'] / base['p50']:.2f})"
        text += f" {found['rounds']:4.1f} r"
    return text


def ratios(rows: Iterable[dict[str, Any]], store: str, figure: str
           ) -> list[float]:
    """Return a store's figures in parts of MariaDB's."""
    return [row['stores'][store][figure] / row['stores'][BASE][figure]
            for row in rows if store in row['stores']
            and row['stores'].get(BASE, {}).get(figure)]


def show(files: Sequence[pathlib.Path], plot: pathlib.Path | None) -> None:
    """Print a table per size and number of threads; write the plot."""
    rows = [r for f in files for r in json.loads(f.read_text())]
    sets: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in rows:
        sets.setdefault((row['instances'], row['threads']), []).append(row)
    for (instances, threads), some in sorted(sets.items()):
        loads = [r['load'] for r in some]
        print(f'\n{instances} instances, {threads} threads; load average '
              f'{min(loads)} to {max(loads)}\n')
        for row in some:
            print(line(row))
        print()
        for store in ('embedded', 'cassandra'):
            for figure in ('p50', 'calls_per_s', 'cpu', 'bytes', 'rounds'):
                found = ratios(some, store, figure)
                if not found or not any(found):
                    continue
                if figure == 'calls_per_s':
                    word, within = 'not less', sum(r >= 1 for r in found)
                else:
                    word, within = 'not more', sum(r <= 1 for r in found)
                print(f'{store:10} {figure:11} to MariaDB: mean '
                      f'{statistics.fmean(found):.2f}, median '
                      f'{statistics.median(found):.2f}, {word} '
                      f'{within} of {len(found)}')
    grown(rows)
    if plot is not None:
        draw(rows, plot)


def grown(rows: Sequence[dict[str, Any]]) -> None:
    """Print by how much calls by key grow with the database, one thread:
    p50 in the largest database over that in the smallest one."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row['threads'] == 1 and row.get('by_key'):
            found.setdefault(row['function'], {})[
                row['instances']] = row['stores']
    lines: dict[tuple[int, int], list[str]] = {}
    growths: dict[str, list[float]] = {}
    for function, sizes in found.items():
        small, large = min(sizes), max(sizes)
        if small == large:
            continue
        text = f'{function:40}'
        for store, figures in sizes[small].items():
            if store in sizes[large]:
                growth = sizes[large][store]['p50'] / figures['p50']
                growths.setdefault(store, []).append(growth)
                text += f'  {store[:4]} {growth:5.2f}'
        lines.setdefault((small, large), []).append(text)
    for (small, large), some in lines.items():
        print(f'\ngrowth of calls by key, {small} to {large} instances\n')
        print('\n'.join(some))
    if growths:
        print()
    for store, each in growths.items():
        print(f'{store:10} growth: median {statistics.median(each):.2f}, '
              f'at most 1.2: {sum(g <= 1.2 for g in each)} of {len(each)}')


def draw(rows: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Plot each function's p50 over our stores against MariaDB's."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 7))
    highest = 1.0
    for store, mark in (('embedded', 'o'), ('cassandra', '^')):
        pairs = [(r['stores'][BASE]['p50'], r['stores'][store]['p50'])
                 for r in rows if r['threads'] == 1
                 and {BASE, store} <= r['stores'].keys()]
        if pairs:
            axes.plot(*zip(*pairs), mark, alpha=0.6, label=store)
            highest = max(highest, *(max(p) for p in pairs))
    axes.plot([1, highest], [1, highest], 'k-', linewidth=0.8)
    axes.set(xscale='log', yscale='log', xlabel='MariaDB, ms (p50)',
             ylabel='luc_drivers, ms (p50)',
             title="Services' functions, one thread")
    axes.legend()
    figure.savefig(path, dpi=120)
