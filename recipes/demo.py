"""``make demo``: the main job on embedded phantoms, from DICOM files to a report.

The phantoms are computed, not acquired: no figure of the demo says anything about patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recipes.figures import figure_text
from recipes.quiet import quiet_backend

CHANGES = (
    "data.modality=CT",
    "data.range=[-160, 240]",
    "data.image_size=96",
    "model.members=1",
    "train.finetune.epochs=10",
)


def run(out: Path, *, patients: int = 160, seed: int = 0, changes: Sequence[str] = ()) -> Path:
    """Write a phantom set, fit on it, and return the path of the report.

    Args:
        out: Run folder; the phantoms go to a folder beside it.
        patients: Phantom patients.
        seed: Seed of the phantoms and of the run.
        changes: Further ``key=value`` changes of the configuration.

    Returns:
        ``out/report.html``.
    """
    from data_adapters.phantom_sets import phantom_classification_set
    from recipes.classification.config import ClassificationConfig
    from recipes.classification.fitting import fit
    from recipes.config import load_config
    from recipes.progress import Reporter

    folder = out.with_name(f"{out.name}-phantoms")
    table = folder / "cases.csv"
    reporter = Reporter()
    if not table.exists():
        reporter.say(f"writing {patients} phantom patients as DICOM to {folder}")
        table = phantom_classification_set(folder, n_patients=patients, seed=seed)
    config = load_config(ClassificationConfig, changes=[*CHANGES, f"seed={seed}", *changes])
    summary = fit(table, out, config, reporter=reporter)
    reporter.say(
        f"phantoms only, {summary['part']} part, n = {summary['n']}: "
        f"AUC {figure_text(summary['metrics']['auc'])}"
    )
    return out / "report.html"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo from the command line."""

    quiet_backend()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--patients", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    report = run(given.out, patients=given.patients, seed=given.seed)
    print(f"report: {report}")


if __name__ == "__main__":
    main()
