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

"""A stand-in for neutron: NOT a network service.

nova asks its network API for ports and security groups even for servers
without networks.  This answers every GET with an empty list (and the default
security group), every other request with 501.  Enough for
``openstack server create --nic none``; real neutron replaces it later.

Run as ``python -m luc_drivers.onebox.network_stand_in ADDRESS PORT``.
"""

from collections.abc import Iterable
import json
import re
import socketserver
import sys
from wsgiref import simple_server

_DEFAULT_GROUP = {
    'id': '00000000-0000-0000-0000-000000000001', 'name': 'default',
    'description': '', 'security_group_rules': []}
_RESOURCE = re.compile(r'^/v2\.0/([a-z_-]+)(?:/(.+))?$')


def application(environ: dict, start_response) -> Iterable[bytes]:
    """Answer one request (WSGI)."""
    status, body = answer(environ['REQUEST_METHOD'],
                          environ.get('PATH_INFO', ''))
    start_response(status, [('Content-Type', 'application/json')])
    return [json.dumps(body).encode()]


def answer(method: str, path: str) -> tuple[str, dict]:
    """Return the HTTP status line and the body for one request."""
    if method != 'GET':
        return '501 Not Implemented', _error(
            'NotImplemented', 'onebox has no neutron: only --nic none works')
    found = _RESOURCE.match(path.rstrip('/'))
    if not found:
        return '200 OK', {'versions': [{
            'id': 'v2.0', 'status': 'CURRENT',
            'links': [{'rel': 'self', 'href': '/v2.0/'}]}]}
    if found[2]:
        return '404 Not Found', _error('NotFound', 'onebox has no neutron')
    name = found[1].replace('-', '_')
    return '200 OK', {
        name: [_DEFAULT_GROUP] if name == 'security_groups' else []}


def _error(kind: str, message: str) -> dict:
    return {'NeutronError': {'type': kind, 'message': message, 'detail': ''}}


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(simple_server.WSGIRequestHandler):
    def log_message(self, format, *args):  # noqa: A002
        """Say nothing: thousands of requests."""


def main() -> None:
    """Serve until the process is ended."""
    server = simple_server.make_server(
        sys.argv[1], int(sys.argv[2]), application, server_class=_Server,
        handler_class=_Handler)
    server.serve_forever()


if __name__ == '__main__':
    main()
