"""A recommender as an MLflow model: raw histories in, a data frame out.

MLflow runs this file to make the model (`python_model=` of `log_model`), here and where
the model is loaded; nothing is pickled. examples/track_with_mlflow.py logs one.
"""

from __future__ import annotations

import mlflow
import pandas as pd

from keras_multvae import Recommender


class RecommenderModel(mlflow.pyfunc.PythonModel):
    """Takes a frame with the column `item_ids`: one list of raw ids for each user."""

    def load_context(self, context):
        self.recommender = Recommender.load(context.artifacts["recommender"])

    def predict(self, context, model_input, params=None):
        """A row for each rank of each user: user (0, 1, ...), rank, item_id, score."""
        top = self.recommender.recommend(
            [list(history) for history in model_input["item_ids"]],
            k=int((params or {}).get("k", 10)),
            on_unknown="skip",
        )
        rows = [
            (user, rank, item, score)
            for user, (items, scores) in enumerate(top)
            for rank, (item, score) in enumerate(zip(items, scores, strict=True), 1)
        ]
        return pd.DataFrame(rows, columns=["user", "rank", "item_id", "score"])


mlflow.models.set_model(RecommenderModel())
