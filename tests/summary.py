"""Print what a run of `tox` did not test on this machine, and what that means."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from ctypes.util import find_library

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
REQUIRED = ("3.11", "3.12", "3.13")
"""The versions of Python that CI insists on."""
LATER = ("3.14", "3.15")

SERVERS = {
    "Dovecot": ("dovecot", "dovecot-core dovecot-imapd dovecot-pop3d dovecot-submissiond dovecot-managesieved"),
    "Postfix": ("postconf", "postfix"),
    "curl": ("curl", "curl"),
    "GNU SASL": ("libgsasl", "libgsasl18"),
    "PostgreSQL": ("psql", "postgresql"),
    "Redis": ("redis-server", "redis-server"),
    "OpenLDAP": ("slapd", "slapd"),
    "Prosody": ("prosody", "prosody"),
}
"""What other servers and clients are found by, and their Debian packages."""


def main() -> None:
    print(f"\nTested: Python {HERE}, and the servers that saslkit brings along.")
    print("Not tested by this command:")
    for version in (*REQUIRED, *LATER):
        there = works(f"python{version}")
        if version != HERE and (there or version in REQUIRED):
            how = f".venv/bin/tox -e py{version.replace('.', '')}" if there else f"no working python{version} on PATH"
            print(f"  Python {version:8}{how}")
    for name, (program, packages) in SERVERS.items():
        how = ".venv/bin/tox -e interop" if is_there(program) else f"not on this machine (Debian: {packages})"
        print(f"  {name:15}{how}")
    print(
        "What that means: a fault that shows only with another version of Python (in ssl, imaplib or asyncio), or\n"
        "only at a server that is not ours, is not found here. `.ci/run` installs what is missing and tests all of it."
    )


def works(python: str) -> bool:
    """Whether there is such an interpreter: pyenv has a program for each version, but not each version."""
    try:
        run = subprocess.run([python, "-c", "import ssl, venv"], capture_output=True, check=False)
    except OSError:
        return False
    return run.returncode == 0


def is_there(program: str) -> bool:
    """Whether a program or a library is there; servers often are not on the PATH."""
    if program.startswith("lib"):
        return find_library(program.removeprefix("lib")) is not None
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/local/sbin:/usr/sbin") is not None


if __name__ == "__main__":
    main()
