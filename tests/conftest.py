"""What holds for every test, in whatever environment it runs."""

from __future__ import annotations

import contextlib

from sandbox.loopback import bypass_proxies

# The servers under test listen on loopback; a developer's proxy does not know it.
bypass_proxies()

with contextlib.suppress(ImportError):  # the environment for the model registry has no Hypothesis
    from hypothesis import settings

    # A slow machine is no failure. What is found at random belongs into `make soak`: here, a run can be repeated.
    settings.register_profile("repeatable", deadline=None, derandomize=True)
    settings.register_profile("random", deadline=None)
    settings.load_profile("repeatable")
