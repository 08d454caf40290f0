"""The command `tune`."""

from __future__ import annotations

import argparse
from pathlib import Path

from keras_multvae.cli.output import print_result
from keras_multvae.data import load_prepared
from keras_multvae.training.record import read_recipe
from keras_multvae.tuning import tune as tune_models


def tune(arguments: argparse.Namespace) -> None:
    """Prepared folder -> folder of the best model."""
    prepared = load_prepared(arguments.prepared)
    recipe = arguments.recipe and read_recipe(Path(arguments.recipe))
    found = tune_models(
        prepared.split,
        arguments.out,
        arguments.minutes,
        models=arguments.models,
        recipe=recipe,
        trials=arguments.trials,
        processes=arguments.processes,
        engine=arguments.engine,
        address=arguments.address,
        prepared=arguments.prepared,
        titles=prepared.titles,
        features=prepared.features,
        resume=arguments.resume,
        seed=arguments.seed,
        progress=True,
    )
    print_result(
        {
            "out": arguments.out,
            "ndcg@100": found.value,
            "recipe": found.recipe.to_json(),
            "trials": len(found.trials),
            "importances": found.importances,
        },
        f"{found}\n\nValidation NDCG@100 {found.value:.4f}, {found.recipe.model_name}"
        f"{' with a linear path' if found.recipe.linear_path else ''}."
        f"\nWritten to {arguments.out}, with recipe.json and trials.csv",
        arguments.json,
    )
