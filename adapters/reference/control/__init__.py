"""An HTTP endpoint by which tests in any language control the reference servers, and a page that shows them live.

    async with serving() as servers, serving_control(servers) as control:
        print(control.url, control.key.reveal())

It listens at 127.0.0.1 and nowhere else. Whoever asks needs the key of the run (`Authorization: Bearer KEY`), and means
this machine by a name of its own (Host), so that no page of somebody else's gets in by a name that it controls. There
are no headers for other origins, and OPTIONS is refused. What can be asked for stands in `routes`, one table, of which
the description at /api/v1/openapi.json is made too.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Final, final

from sasl.secret import Secret
from sasl.value import field, value

from ..http import serving_http
from .desk import Desk
from .door import Door, refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..servers import Servers

__all__ = ["Control", "serving_control"]

_HOST: Final = "127.0.0.1"
_DEADLINE: Final = 10.0  # seconds for a request to come whole


@final
@value
class Control:
    """Where the control endpoint is.

    Attributes:
        url: its root, where the page is too: "http://127.0.0.1:PORT".
        key: what every request has to show.
    """

    url: str
    key: Secret = field(hidden=True)


@contextlib.asynccontextmanager
async def serving_control(servers: Servers, *, port: int = 0) -> AsyncIterator[Control]:
    """Run the control endpoint of servers in their event loop until the block ends. Port 0 is one that is free.

    Raises OSError if the port cannot be had, TokenError (missing_extra) without h11.
    """
    key = Secret(secrets.token_urlsafe(32))
    desk = Desk(servers)
    door = Door(desk, key)
    with contextlib.ExitStack() as stack:
        stack.callback(servers.watch(desk.live.tell))
        async with serving_http(
            door.answer, host=_HOST, port=port, deadline=_DEADLINE, admit=door.admit, refuse=refuse
        ) as bound:
            yield Control(f"http://{_HOST}:{bound}", key)
