"""Mail in memory, and what IMAP says of it: messages, mailboxes, FETCH and SEARCH. It knows no connection."""
