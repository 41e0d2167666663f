"""``flywheel compare`` whose films are painted in no time; every word of the command line is as ever."""

from __future__ import annotations

from functools import partial

import ui_collect.compare.server as compare
from flywheel.cli import main

if __name__ == "__main__":
    compare.serve_compare = partial(compare.serve_compare, worker="tests.support.painted_clips")
    main()
