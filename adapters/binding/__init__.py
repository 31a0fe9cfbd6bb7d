"""How a library is bound: its description, the one login sequence, errors that are two things.

    LIBRARY = Library(service="imap", ...)     # see sasl.adapters.poplib for one to copy
    authenticate = Binding(LIBRARY).authenticate      # AsyncBinding where the library is asynchronous

All rules of an exchange are the wire's (`sasl.adapters.wire`), all rules of a login are here: what is checked when,
what closes the connection, what is shown of it. The description says how one library does it. Whoever needs only the
exchange runs a wire by `run` or `run_async`.
"""

from ..wire.text import end_of_connection
from .callback import Callback, callback_script, speak
from .channel import channel
from .clock import limit_time
from .connection import close, connect, open_by_class
from .dialogue import READ, Dialogue, quiet
from .drive import guard, perform, perform_async, run, run_async
from .errors import timeout_error
from .family import Family, LibraryError, bind
from .given import credentials_of, veil
from .gone import is_gone
from .login import AsyncBinding, Binding, Library, Offer, auth, log_in, log_in_async, login_steps
from .tls import begin_tls, has_unread, no_tls

__all__ = [
    "READ",
    "AsyncBinding",
    "Binding",
    "Callback",
    "Dialogue",
    "Family",
    "Library",
    "LibraryError",
    "Offer",
    "auth",
    "begin_tls",
    "bind",
    "callback_script",
    "channel",
    "close",
    "connect",
    "credentials_of",
    "end_of_connection",
    "guard",
    "has_unread",
    "is_gone",
    "limit_time",
    "log_in",
    "log_in_async",
    "login_steps",
    "no_tls",
    "open_by_class",
    "perform",
    "perform_async",
    "quiet",
    "run",
    "run_async",
    "speak",
    "timeout_error",
    "veil",
]
