"""A plug-in whose author never tried it."""

import a_module_that_nobody_has  # noqa: F401
