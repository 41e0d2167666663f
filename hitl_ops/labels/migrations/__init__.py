"""How a labels database gets from one shape of its tables to the next, one file a step in ``versions``.

A step, once released, is never edited. A new one copies the form of the newest, names it as ``down_revision``, and
becomes :data:`hitl_ops.labels.schema.REVISION`; a test compares what all steps make with what the models say.
"""
