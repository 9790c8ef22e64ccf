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

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import figures  # noqa: E402
import functions  # noqa: E402
import matrix  # noqa: E402

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'cliff.sphinxext',
]
project = 'luc_drivers'
copyright = 'OpenStack contributors'
master_doc = 'index'
source_suffix = {'.rst': 'restructuredtext'}
html_theme = 'openstackdocs'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
version = ''
release = ''
exclude_patterns = ['_generated/*.inc']
autoprogram_cliff_application = 'luc'
autoprogram_cliff_ignored = ['--help']


def _generate(app):
    figures.main(HERE / '_generated')
    functions.main(HERE / '_generated')
    matrix.main(HERE / '_generated')


def setup(app):
    app.connect('builder-inited', _generate)
