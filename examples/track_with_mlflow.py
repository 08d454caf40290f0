"""MLflow: the curves of a training, and a recommender that other tools can call.

pip install mlflow, in an environment of its own; then

    python examples/track_with_mlflow.py --tracking-uri sqlite:///mlflow.db

and `mlflow ui --backend-store-uri sqlite:///mlflow.db` shows the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd

from keras_multvae import MultVAE, Recipe, Recommender, evaluate_ranking, train
from keras_multvae.data import Interactions, strong_generalization

CODE = Path(__file__).with_name("mlflow_recommender.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tracking-uri", default="sqlite:///mlflow.db")
    given = parser.parse_args()
    mlflow.set_tracking_uri(given.tracking_uri)
    mlflow.set_experiment("films")
    # The model is logged below, as a recommender that knows raw ids.
    mlflow.keras.autolog(log_models=False, log_datasets=False)

    split = strong_generalization(clicks(), 40, 40)
    recipe = Recipe(MultVAE.Config(8, (32,)), epochs=20)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        model, _ = train(split, recipe, Path(folder, "state"))
        mlflow.log_dict(recipe.to_json(), "recipe.json")
        report = evaluate_ranking(model, split.test)
        # MLflow takes no @ in a name.
        mlflow.log_metrics(
            {f"test_{m.replace('@', '_at_')}": report.mean(m) for m in report.metrics}
        )
        recommender = Recommender(model, split.train.items)
        recommender.save(Path(folder, "model"))
        logged = mlflow.pyfunc.log_model(
            name="recommender",
            python_model=str(CODE),
            artifacts={"recommender": str(Path(folder, "model"))},
            input_example=(pd.DataFrame({"item_ids": [[0, 2, 4]]}), {"k": 10}),
            pip_requirements=[f"keras_multvae[{keras.backend.backend()},data]"],
        )

    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    histories = [[0, 2, 4], [1, 3]]
    found = loaded.predict(pd.DataFrame({"item_ids": histories}), params={"k": 5})
    print(found.to_string(index=False))
    wanted = recommender.recommend(histories, k=5)
    assert found["item_id"].tolist() == np.concatenate(wanted.items).tolist()
    np.testing.assert_allclose(found["score"], np.concatenate(wanted.scores), rtol=1e-5)
    data = mlflow.get_run(run.info.run_id).data
    shown = {"metrics": sorted(data.metrics), "epochs": data.params["epochs"]}
    print(json.dumps(shown))


def clicks() -> Interactions:
    """Two tastes, which an hour of made-up clicks shows."""
    rng = np.random.default_rng(0)
    taste = np.arange(400)[:, None] % 2 == np.arange(40)[None] % 2
    users, items = np.nonzero(taste & (rng.random((400, 40)) < 0.5))
    return Interactions.from_events(users.tolist(), items.tolist())


if __name__ == "__main__":
    main()
