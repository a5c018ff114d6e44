"""How many threads a model takes of this machine."""

from __future__ import annotations

import os

# Both engines wait for their threads by spinning: as soon as anything else wants a core, one thread too many
# can make them slower a hundredfold. Half of the cores, and not more than a model this small can use.
THREADS = min(4, max(1, (os.cpu_count() or 2) // 2))
