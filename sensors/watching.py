"""How long a sensor's tick looks: nearly until the daemon comes round again.

Dagster's daemon comes round to its sensors every five seconds, whatever interval they ask for; somebody who has just
finished the last play would wait for half of that in the mean. So a tick goes on looking until shortly before the
next one.
"""

from __future__ import annotations

WATCH_S = 4.25
LOOK_EVERY_S = 0.2
