"""Everything about the server of the page of marks that may be set."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.progress_marks import MAX_STAGES
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.web_settings import WebSettings

NAME_LETTERS = 60


class MarkSettings(WebSettings):
    """The server of the page of marks."""

    port: int = Field(default=8095, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    stages: int = Field(default=4, ge=1, le=MAX_STAGES, description="stages of the task, K")
    stage_names: tuple[str, ...] = Field(
        default=(), description="what the stages are called on the page, in their order; all of them or none"
    )
    annotation: AnnotationSettings = Field(
        # Every camera that is looked at is a film.
        default_factory=lambda: AnnotationSettings(requests_per_s=50.0, request_burst=400, cache_mb=2048),
        description="the page on which episodes are marked",
    )

    def checked(self) -> Self:
        """See :meth:`WebSettings.checked`."""
        if self.stage_names and len(self.stage_names) != self.stages:
            raise UserError(
                f"there are {self.stages} stages and {len(self.stage_names)} names for them", "name all of them or none"
            )
        for name in self.stage_names:
            if not 0 < len(name) <= NAME_LETTERS:
                raise UserError(f"stage name '{name}' is not usable", f"a name has 1 to {NAME_LETTERS} letters")
        return super().checked()

    @property
    def named(self) -> list[str]:
        """What each stage is called."""
        return list(self.stage_names) or [f"Stage {number + 1}" for number in range(self.stages)]
