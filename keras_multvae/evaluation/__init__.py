"""How good rankings are on held-out users; see docs/method.md."""

from keras_multvae.evaluation.differences import (
    PairedDifference,
    paired_difference,
    paired_test,
)
from keras_multvae.evaluation.ranking import (
    CHOSEN_BY,
    DEFAULT_METRICS,
    METRICS,
    evaluate_ranking,
    values_of_scores,
    values_of_top,
)
from keras_multvae.evaluation.report import RankingReport

__all__ = [
    "CHOSEN_BY",
    "DEFAULT_METRICS",
    "METRICS",
    "PairedDifference",
    "RankingReport",
    "evaluate_ranking",
    "paired_difference",
    "paired_test",
    "values_of_scores",
    "values_of_top",
]
