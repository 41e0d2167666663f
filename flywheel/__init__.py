"""The loop by hand: the ``flywheel`` command, one module a verb, each calling the rooms of ``hitl_ops``.

A verb reads its options, finds its configuration, shows progress and prints what came out. Anything that could be
of use without a terminal belongs in ``hitl_ops``.
"""
