"""What a store does to a case, and how the way back is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data_adapters.case import Case
from data_adapters.chain import run_chain, undos_to_dicts

Apply = Callable[[Case, Sequence[Any]], "Case | tuple[Case, Sequence[Mapping[str, Any]]]"]


def run_steps(case: Case, steps: Sequence[Any]) -> tuple[Case, list[dict[str, Any]]]:
    """Run the steps of `chain.run_chain` on a case.

    Args:
        case: Any case.
        steps: JSON dicts; none leave the case as it is.

    Returns:
        The case after the steps, and one record per step for `chain.undos_from_dicts`.

    Raises:
        DataError: As `run_chain`.
    """
    done, undos = run_chain(case, steps)
    return done, undos_to_dicts(undos)
