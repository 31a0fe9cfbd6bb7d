"""How a library is bound: its description, the one login sequence, errors that are two things.

    LIBRARY = Library(service="imap", ...)     # see sasl.adapters.poplib for one to copy
    authenticate = Binding(LIBRARY).authenticate

All rules of an exchange are the wire's (`sasl.adapters.wire`), all rules of a login are here: what is checked when,
what closes the connection, what is shown of it. The description says how one library does it.
"""

from ..wire.text import end_of_connection
from .callback import Callback, callback_script, speak
from .channel import describe
from .clock import limit_time
from .connection import close, connect, open_by_class
from .dialogue import READ, Dialogue, quiet
from .errors import LibraryError, is_gone, timeout_error
from .given import credentials_of, veil
from .login import Binding, Library, Offer, auth, log_in, log_in_async, login_steps, perform, perform_async
from .tls import begin_tls, has_unread, no_tls

__all__ = [
    "READ",
    "Binding",
    "Callback",
    "Dialogue",
    "Library",
    "LibraryError",
    "Offer",
    "auth",
    "begin_tls",
    "callback_script",
    "close",
    "connect",
    "credentials_of",
    "describe",
    "end_of_connection",
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
    "speak",
    "timeout_error",
    "veil",
]
