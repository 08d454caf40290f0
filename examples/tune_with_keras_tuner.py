"""Searches latent size, width, dropout, cap of beta and learning rate with KerasTuner.

    pip install "keras_multvae[tune,demo]"
    KERAS_BACKEND=torch python examples/tune_with_keras_tuner.py --trials 20

The objective is validation NDCG@100; the test users are looked at once, at the end.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import keras
import keras_tuner

from keras_multvae import BetaAnneal, MultVAE, evaluate_ranking
from keras_multvae.data import (
    Split,
    UserBatches,
    load_movielens,
    strong_generalization,
)


class MultVAESearch(keras_tuner.HyperModel):
    """What is searched over, and how one candidate is trained."""

    def __init__(self, split: Split, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.num_items = split.train.num_items
        self.train = UserBatches(split.train, batch_size=100)
        self.validation = UserBatches(
            split.validation.input, shuffle=False, targets=split.validation.targets
        )

    def build(self, hp: keras_tuner.HyperParameters) -> MultVAE:
        """A compiled candidate."""
        model = MultVAE(
            self.num_items,
            latent_dim=hp.Choice("latent_dim", [50, 100, 200, 400]),
            hidden_dims=(hp.Choice("width", [200, 400, 600, 1000]),),
            dropout=hp.Float("dropout", 0.2, 0.8, step=0.1),
            seed=0,
        )
        rate = hp.Float("learning_rate", 3e-4, 3e-3, sampling="log")
        model.compile(keras.optimizers.Adam(rate, epsilon=1e-8))
        # Else KerasTuner cannot put the saved state back into the best model.
        model.optimizer.build(model.trainable_variables)
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: MultVAE, **kwargs: Any
    ) -> Any:
        """One training; the cap of beta is reached after half of it."""
        cap = hp.Float("beta_cap", 0.05, 1.0, sampling="log")
        half = self.epochs * len(self.train) / 2
        callbacks = [
            *kwargs.pop("callbacks", []),
            BetaAnneal(cap, half / cap),
            keras.callbacks.EarlyStopping(
                "val_ndcg_at_100", patience=10, restore_best_weights=True
            ),
        ]
        return model.fit(
            self.train,
            epochs=self.epochs,
            validation_data=self.validation,
            callbacks=callbacks,
            **kwargs,
        )


def main() -> None:
    """Searches on the demo's MovieLens and tests the best candidate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    interactions, _ = load_movielens("demo")
    split = strong_generalization(interactions, 60, 60)
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.BayesianOptimization(
            MultVAESearch(split, options.epochs),
            objective=keras_tuner.Objective("val_ndcg_at_100", "max"),
            max_trials=options.trials,
            seed=0,
            directory=folder,
        )
        tuner.search(verbose=0)
        (best,) = tuner.get_best_hyperparameters()
        (model,) = tuner.get_best_models()
    print(best.values)
    print(evaluate_ranking(model, split.test))


if __name__ == "__main__":
    main()
