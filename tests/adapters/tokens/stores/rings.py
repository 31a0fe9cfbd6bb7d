"""A backend of keyring that keeps its entries in memory, and fails when it is told to."""

from __future__ import annotations

from keyring.backend import KeyringBackend


class Ring(KeyringBackend):
    """As the keyring of a system, for one test; nobody finds it who looks for the best one."""

    priority = -1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.fails_to_read: type[Exception] | None = None
        self.fails_to_write: type[Exception] | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.fails_to_read is not None:
            raise self.fails_to_read(self.entries)
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.fails_to_write is not None:
            raise self.fails_to_write(password)
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.fails_to_write is not None:
            raise self.fails_to_write(self.entries)
        del self.entries[service, username]
