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


"""Draws the documentation's figures as SVG: boxes, arrows, text.

    python tools/figures.py FOLDER

``doc/source/conf.py`` runs it before each build.
"""

import pathlib
import sys
from xml.sax import saxutils

_HEAD = '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" \
width="{0}" height="{1}" font-family="sans-serif" font-size="13">
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" \
markerWidth="7" markerHeight="7" orient="auto-start-reverse">\
<path d="M0 0 10 5 0 10z" fill="#444"/></marker></defs>
<rect width="{0}" height="{1}" fill="#fff"/>
'''
SERVICE, STORE, OURS, SITE = '#dcebfa', '#e6e0f3', '#dff2e1', '#f6f6f6'


class Figure:
    """A drawing; coordinates in pixels from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self._parts = [_HEAD.format(width, height)]

    def text(self, x: float, y: float, text: str, anchor: str = 'middle',
             style: str = '') -> None:
        """Write a line; y is its baseline."""
        self._parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" {style}>'
            f'{saxutils.escape(text)}</text>\n')

    def box(self, x: float, y: float, width: float, height: float,
            label: str = '', fill: str = SERVICE, top: bool = False) -> None:
        """Draw a box with lines of text, in its middle or at its top."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" '
            f'fill="{fill}" stroke="#777"/>\n')
        lines = label.split('\n') if label else []
        first = (y + 18 if top
                 else y + height / 2 - 8 * (len(lines) - 1) + 4)
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + 16 * number, line,
                      style='font-weight="bold"' if top and not number
                      else '')

    def arrow(self, x1: float, y1: float, x2: float, y2: float,
              label: str = '', both: bool = False, dashed: bool = False,
              above: float = 6) -> None:
        """Draw an arrow with a label beside its middle."""
        start = ' marker-start="url(#tip)"' if both else ''
        dash = ' stroke-dasharray="5 4"' if dashed else ''
        self._parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#444" '
            f'stroke-width="1.4" marker-end="url(#tip)"{start}{dash}/>\n')
        if label:
            vertical = abs(x2 - x1) < abs(y2 - y1)
            self.text((x1 + x2) / 2 + (8 if vertical else 0),
                      (y1 + y2) / 2 + (4 if vertical else -above), label,
                      'start' if vertical else 'middle',
                      'font-size="12" fill="#333"')

    def svg(self) -> str:
        """Return the whole file."""
        return ''.join([*self._parts, '</svg>\n'])


def overview() -> Figure:
    """Three sites: services that talk to each other, one store."""
    figure = Figure(780, 330)
    for number, name in enumerate(('site 1', 'site 2', 'site 3')):
        x = 10 + number * 260
        figure.box(x, 10, 240, 310, name, SITE, top=True)
        figure.box(x + 15, 45, 100, 44, 'keystone\nglance')
        figure.box(x + 125, 45, 100, 44, 'nova-api\nscheduler')
        figure.box(x + 15, 130, 100, 44, 'conductor')
        figure.box(x + 125, 130, 100, 44, 'nova-compute')
        figure.arrow(x + 175, 89, x + 80, 130, both=True)
        figure.arrow(x + 115, 152, x + 125, 152, both=True)
        figure.arrow(x + 185, 89, x + 185, 130, both=True)
        figure.box(x + 15, 245, 210, 60,
                   'Cassandra\nthis site\'s rows and copies\nof what is '
                   'global', STORE)
        figure.arrow(x + 65, 174, x + 65, 245, 'sqlite+luc://')
        if number:
            figure.arrow(x - 35, 275, x + 15, 275, both=True)
            figure.arrow(x - 35, 140, x + 15, 140, both=True, dashed=True)
    figure.text(263, 128, 'zmq://', style='font-size="12" fill="#333"')
    figure.text(523, 128, 'zmq://', style='font-size="12" fill="#333"')
    return figure


def brokers() -> Figure:
    """The same cloud as it is usually run, to compare."""
    figure = Figure(780, 300)
    figure.box(10, 10, 240, 280, 'central site', SITE, top=True)
    figure.box(30, 50, 200, 44, 'keystone, glance, nova-api,\nscheduler, '
               'conductor')
    figure.box(30, 140, 90, 54, 'Galera\ncluster', STORE)
    figure.box(140, 140, 90, 54, 'RabbitMQ\ncluster', STORE)
    figure.arrow(75, 94, 75, 140, both=True)
    figure.arrow(185, 94, 185, 140, both=True)
    for number in range(3):
        y = 10 + number * 95
        figure.box(520, y, 250, 85, f'site {number + 2}', SITE, top=True)
        figure.box(540, y + 32, 210, 36, 'nova-compute')
        figure.arrow(540, y + 50, 230, 167, both=True)
    figure.text(385, 285, 'every message passes the broker, every '
                'read the centre', style='font-size="12" fill="#333"')
    return figure


def database() -> Figure:
    """A statement's way through the database layer."""
    figure = Figure(780, 400)
    figure.box(20, 10, 740, 36, 'nova, keystone, glance, … : SQLAlchemy and '
               'oslo.db, unchanged')
    figure.arrow(390, 46, 390, 76, 'statement and parameters')
    figure.box(20, 78, 740, 36, 'dialect sqlite.luc and PEP 249 driver', OURS)
    figure.arrow(120, 114, 120, 150, '1 plan')
    figure.box(20, 152, 210, 70, 'planner\nwhich groups or index entries\n'
               'give a superset of the rows', OURS)
    figure.arrow(390, 114, 390, 150, '2 evaluate')
    figure.box(285, 152, 210, 70, 'workspace\nSQLite in memory runs the\n'
               'original statement', OURS)
    figure.arrow(655, 114, 655, 150, '3 COMMIT')
    figure.box(550, 152, 210, 70, 'commit protocol\nwhat changed, if what '
               'was\nread still holds', OURS)
    figure.arrow(230, 187, 285, 187, 'rows')
    figure.arrow(495, 187, 550, 187, 'diff')
    figure.box(20, 272, 740, 44, 'store: groups of rows, index entries, '
               'catalog, sequences (one interface, two implementations)',
               OURS)
    figure.arrow(120, 222, 120, 272, 'reads, in parallel', both=True)
    figure.arrow(655, 222, 655, 272, 'batches, if …')
    figure.box(20, 346, 520, 44, 'Apache Cassandra: keyspaces '
               '<database>_global and <database>_at_<site>', STORE)
    figure.box(560, 346, 200, 44, 'or files of this host', STORE)
    figure.arrow(280, 316, 280, 346)
    figure.arrow(660, 316, 660, 346)
    return figure


def call() -> Figure:
    """One call over the transport."""
    figure = Figure(780, 340)
    lanes = ((90, 'caller (nova-api)'), (390, 'server (conductor)'),
             (690, 'registry in Cassandra'))
    for x, name in lanes:
        figure.box(x - 85, 10, 170, 32, name,
                   STORE if x == 690 else SERVICE)
        figure.arrow(x, 42, x, 330, dashed=True)
    figure.arrow(390, 70, 690, 70, 'registers: address, topic, key')
    figure.arrow(90, 105, 690, 105, 'who serves topic conductor? '
                 '(once, then kept fresh in the background)')
    figure.arrow(90, 150, 390, 150, 'HELLO: who are you?', both=True)
    figure.arrow(90, 185, 390, 185, 'request')
    figure.arrow(390, 210, 90, 210, 'acknowledged')
    figure.text(400, 240, 'the endpoint runs', 'start',
                'font-size="12" fill="#333"')
    figure.arrow(390, 265, 90, 265, 'reply')
    figure.arrow(90, 290, 390, 290, 'acknowledged')
    figure.text(400, 315, 'later calls: only request, reply', 'start',
                'font-size="12" fill="#333"')
    return figure


def fanout() -> Figure:
    """One fanout: direct in the own site, by a relay elsewhere."""
    figure = Figure(780, 300)
    figure.box(10, 10, 300, 280, 'site 1', SITE, top=True)
    figure.box(420, 10, 350, 280, 'site 2', SITE, top=True)
    figure.box(30, 50, 110, 44, 'sender', OURS)
    for number in range(3):
        figure.box(190, 50 + number * 75, 100, 36, f'listener {number + 1}')
        figure.arrow(140, 72, 190, 68 + number * 75)
        figure.box(650, 50 + number * 75, 100, 36, f'listener {number + 5}')
        figure.arrow(560, 150, 650, 68 + number * 75)
    figure.box(440, 132, 120, 36, 'listener 4: relay', OURS)
    figure.arrow(85, 94, 85, 262)
    figure.arrow(85, 262, 500, 262, 'one copy over the link')
    figure.arrow(500, 262, 500, 168)
    figure.arrow(440, 140, 140, 84, 'done', dashed=True, both=False)
    figure.text(600, 282, 'found in site 2\'s own registry',
                style='font-size="12" fill="#333"')
    return figure


FIGURES = {'overview': overview, 'brokers': brokers, 'database': database,
           'call': call, 'fanout': fanout}


def main(folder: str) -> None:
    """Write all figures into a folder."""
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        target.joinpath(f'{name}.svg').write_text(draw().svg())


if __name__ == '__main__':
    main(sys.argv[1])
