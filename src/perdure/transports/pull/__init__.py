"""Calls over the HTTP API: a worker asks any server of the store for them, and needs neither the store nor a broker.

connection
    Requests on one pool of connections; the beats have a connection of their own. A server that is away is asked again without end, after
    0.1 to 5 s. Proxies of the environment are not used, redirects are not followed.
delivery
    At least once. A call that was taken has left the queue; the registry says who has it, and beats keep it. So `ack` costs nothing,
    `give_back` and `refuse` are requests, and one that fails leaves the call to its lease. Nothing but calls is sent this way: `send` and
    `backlog` are `Unsupported`, and what a worker says goes by the reporter. That nobody waits for an attempt any more is told in the
    answer to a beat.
limits
    Bodies of 16 MiB. At most 100 calls a request. One long poll asks for all actions that have room.
options
    The URL, ``http://`` or ``https://``, with a path if a proxy has one, and without credentials; the token is given apart.
"""

from perdure.transports.pull.api import Api
from perdure.transports.pull.desk import Desk
from perdure.transports.pull.reporter import PullReporter
from perdure.transports.pull.transport import PullTransport

__all__ = ["Api", "Desk", "PullReporter", "PullTransport"]
