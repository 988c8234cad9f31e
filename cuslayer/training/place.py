"""The place of a checkpoint in the middle of an epoch, with the sums of the epoch so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuslayer import check
from cuslayer.training.score import Tally
from cuslayer.training.sums import check_fields


@dataclass(frozen=True)
class Place:
    """A place in the middle of an epoch.

    Attributes:
        of: the number of training batches of the epoch.
        trained: the score of the training batches so far, as `Tally.state` has it.
        gradients: the sizes of the gradients so far, as `GradientFlow.state` has them.
        tested: the score of the test batches so far; None before the first.
    """

    of: int
    trained: dict[str, Any]
    gradients: dict[str, Any]
    tested: dict[str, Any] | None = None

    @property
    def batches(self) -> int:
        """The number of training batches so far."""
        return int(self.trained["batches"])

    def json(self) -> dict[str, Any]:
        """Return the place as JSON has it."""
        return {"of": self.of, "trained": self.trained, "gradients": self.gradients, "tested": self.tested}

    @classmethod
    def of_json(cls, given: Any) -> Place:
        """Return what `json` returned.

        Raises:
            ValueError: it is none.
        """
        check_fields("place", given, ("of", "trained", "gradients", "tested"))
        for scores in (given["trained"], given["tested"]):
            if scores is not None:
                Tally().load_state(scores)
        check_fields("gradient flow", given["gradients"], ("steps", "squares"))
        whole, batches = given["of"], 0 if given["trained"] is None else given["trained"]["batches"]
        if type(whole) is not int or not 1 <= batches <= whole:
            raise ValueError(f"load_state: batches must be from 1 to {check.one_line(whole)}, got {batches}")
        if given["tested"] is not None and batches < whole:
            raise ValueError(f"load_state: batches must be {whole} where the test has begun, got {batches}")
        return cls(**given)
