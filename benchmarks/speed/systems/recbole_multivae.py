"""RecBole's MultiVAE, trained by its own Trainer; runs in RecBole's environment."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import UserDataLoader
from recbole.model.general_recommender import MultiVAE
from recbole.trainer import Trainer
from scipy import sparse


class RecBole:
    """I-600-200-600-I; `mixed` is RecBole's own switch for mixed precision."""

    def __init__(self, clicks: str, batch_size: int, mixed: bool = False) -> None:
        # RecBole adds an empty user for padding, who takes the place of the last one:
        # else its batches would be one more than everybody's.
        matrix = sparse.load_npz(clicks)[:-1].tocoo()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clicks" / "clicks.inter"
            path.parent.mkdir()
            np.savetxt(
                path,
                np.stack([matrix.row, matrix.col], axis=1),
                fmt="%d",
                delimiter="\t",
                header="user_id:token\titem_id:token",
                comments="",
            )
            config = Config(
                model="MultiVAE",
                dataset="clicks",
                config_dict={
                    "data_path": folder,
                    "checkpoint_dir": folder,
                    "load_col": {"inter": ["user_id", "item_id"]},
                    "eval_args": {
                        "split": {"RS": [1, 0, 0]},
                        "group_by": None,
                        "order": "RO",
                        "mode": "full",
                    },
                    "train_neg_sample_args": None,
                    "train_batch_size": batch_size,
                    "mlp_hidden_size": [600],
                    # Mean and log-variance together.
                    "latent_dimension": 400,
                    "dropout_prob": 0.5,
                    "anneal_cap": 0.2,
                    "total_anneal_steps": 200_000,
                    "learning_rate": 1e-3,
                    "enable_amp": mixed,
                    "use_gpu": False,
                    "reproducibility": False,
                    "show_progress": False,
                    "state": "ERROR",
                },
            )
            train = create_dataset(config).build()[0]
        self.batches = UserDataLoader(config, train, None, shuffle=True)
        self.model = MultiVAE(config, train).to(config["device"])
        self.trainer = Trainer(config, self.model)
        self.epochs = 0

    def epoch(self) -> None:
        # One turn of the loop in Trainer.fit, which would first collect what it needs
        # for evaluations.
        self.trainer._train_epoch(self.batches, self.epochs)
        self.epochs += 1
