"""An IMAP server over mail in memory (RFC 3501 and the extensions that it advertises)."""

from .conversation import ImapConversation

__all__ = ["ImapConversation"]
