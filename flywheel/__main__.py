"""``python -m flywheel``: the same command, for launchers that start a module (torchrun)."""

from __future__ import annotations

from flywheel.cli import main

if __name__ == "__main__":
    main()
