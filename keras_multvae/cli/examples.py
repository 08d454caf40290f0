"""An example of each command, for --help and docs/cli.md. Imports no Keras."""

EXAMPLES = {
    "prepare": "keras-multvae prepare ratings.csv --out prepared --user-column userId "
    "--item-column movieId --rating-column rating --min-rating 4 --items movies.csv "
    "--features genres",
    "train": "keras-multvae train prepared --out model --epochs 100 --patience 10",
    "tune": "keras-multvae tune prepared --out model --minutes 60",
    "evaluate": "keras-multvae evaluate model prepared --metrics recall@20,ndcg@100",
    "compare": "keras-multvae compare prepared --models Popularity,EASE,MultVAE",
    "recommend": "echo '[1, 364, 588]' | keras-multvae recommend model -k 5",
    "similar": "keras-multvae similar model 1 364",
    "add-items": "keras-multvae add-items model new_movies.csv --item-column movieId "
    "--out grown --prepared prepared",
    "export": "keras-multvae export model --out saved_models/movielens --keep 3",
    "serve": "keras-multvae serve saved_models/movielens --port 8501",
    "verify": "keras-multvae verify model",
    "demo": "keras-multvae demo --out demo",
}


def epilog_of(command: str) -> str | None:
    """The end of a command's help."""
    example = EXAMPLES.get(command)
    return None if example is None else f"Example: {example}"
