"""Each arm at its best epoch, beside equal training."""

from homoreg.study.data import StudyData
from homoreg.study.document import Column, Section, Table, with_interval
from homoreg.study.tables import best_epoch_table, model_table

COLUMNS = [
    Column("weights", "weights"),
    Column("seeds", "seeds"),
    Column("pairs", "n"),
    with_interval("epochs", "epochs", 1),
    with_interval("auc_5px", "AUC 5 px", 1),
    with_interval("precision_3px_median", "precision at 3 px", 2),
    with_interval("recall_3px_median", "recall at 3 px", 2),
    with_interval("match_count_median", "matches", 0),
]


def best_epoch(study: StudyData) -> Section | None:
    if not len(study.best_rows):
        return None
    of_runs = model_table(study.best_rows)
    table = best_epoch_table(study.models, of_runs, study.done)
    part = Table(
        "best_epoch",
        "The last epoch is equal training; the best epoch of a run is the one that "
        "`callbacks.best_checkpoint` chose on validation pairs, by one rule for all arms. Means "
        "over seeds with the 95 % t interval, of each run's median over the pairs or of its AUC of "
        "the corner error (0 to 100). Epochs: how long the weights were trained. The runs one by "
        "one: `tables/models.csv` and, at their best epoch, `tables/best_epoch_runs.csv`.",
        "best_epoch",
        study.readable(table),
        COLUMNS,
        by=["protocol", "estimator", "arm"],
    )
    frames = {"best_epoch": table, "best_epoch_runs": of_runs}
    return Section("best_epoch", "Each arm at its best epoch", [part], frames)
