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

"""A server in a process of its own: peer.py URL TOPIC SERVER LOG."""

import logging
import os
import sys

from oslo_config import cfg
import oslo_messaging

from tests.functional.messaging import support


def main():
    """Serve until standard input ends."""
    url, topic, server, log_path = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger('oslo_messaging').setLevel(logging.CRITICAL)
    conf = cfg.CONF
    conf([], project='peer', default_config_files=[])
    transport = oslo_messaging.get_rpc_transport(conf, url=url)
    rpc = oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(topic=topic, server=server),
        [support.Endpoint(log_path)], executor='threading')
    rpc.start()
    print('up', os.getpid(), flush=True)
    sys.stdin.read()
    rpc.stop()
    rpc.wait()
    transport.cleanup()


if __name__ == '__main__':
    main()
