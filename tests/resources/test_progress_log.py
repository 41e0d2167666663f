"""A run's log says now and then how far a step is, never every time."""

# Annotations stay objects here: Dagster does not recognise the context's type in a string.

import dagster as dg

from resources.progress import ProgressLog


def _lines(every_s: float) -> list[str]:
    @dg.asset
    def slow(context: dg.AssetExecutionContext) -> None:
        tell = ProgressLog(every_s=every_s).of_step(context)
        for done in range(1, 101):
            tell(done, 100, f"step {done}")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([slow], instance=instance)
        records = instance.all_logs(result.run_id)
    return [record.user_message for record in records if "/100 (" in record.user_message]


def test_says_only_the_end_when_it_is_soon() -> None:
    assert _lines(3600) == ["100/100 (100 %): step 100"]


def test_says_everything_when_asked_to() -> None:
    assert len(_lines(0)) == 100
