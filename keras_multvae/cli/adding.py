"""The command `add-items`."""

from __future__ import annotations

import argparse
from pathlib import Path

from keras_multvae import Recommender
from keras_multvae.cli.item_files import NO_TITLES, columns_of
from keras_multvae.cli.output import print_result, status
from keras_multvae.data import load_prepared
from keras_multvae.recommender import storage


def add_items(arguments: argparse.Namespace) -> None:
    """Model folder and a file of items -> a model folder that has them, too."""
    # What would stop the writing stops it before the work.
    storage.check_out(Path(arguments.out))
    recommender = Recommender.load(arguments.model)
    judges = None
    if arguments.prepared is not None:
        prepared = load_prepared(arguments.prepared)
        judges = prepared.split.validation
        if judges is None or prepared.split.train.items != recommender.items:
            raise ValueError(
                f"{arguments.prepared} must have validation users, and the items of "
                f"{arguments.model}."
            )
        if recommender.features is None:  # as of data prepared before
            recommender.features = prepared.features
    if recommender.features is None:
        raise ValueError(
            f"{arguments.model} knows no features of its items. Prepare the data with "
            "--items FILE --features NAME,..., and train anew; or name the folder with "
            "--prepared, if it has them."
        )
    titled = [] if arguments.title_column == NO_TITLES else [arguments.title_column]
    names = list(dict.fromkeys([*recommender.features.names, *titled]))
    ids, columns = columns_of(arguments, recommender.items, names)
    titles = {}
    if titled:
        given = zip(ids, columns[titled[0]], strict=True)
        titles = {item: str(title) for item, title in given if title is not None}
    with status(f"Reading off what {len(ids):,} items are like"):
        grown = recommender.add_items(
            ids,
            recommender.features.like(columns, arguments.label_separator),
            titles=titles,
            judges=judges,
            warm_loss=arguments.warm_loss,
        )
    grown.save(arguments.out)
    new = len(grown.items) - len(recommender.items)
    found = grown.calibration
    told = "" if found is None or found.warm_loss is None else (
        "\nJudged by known items that stood for new ones: NDCG@100 of the others falls "
        f"by {found.warm_loss:.2%}, that of all rises by {found.gain:.2%}."
    )  # fmt: skip
    print_result(
        {
            "out": arguments.out,
            "new_items": new,
            "known_items": len(ids) - new,
            "calibration": None if found is None else found._asdict(),
        },
        f"{new:,} new items, beside {len(recommender.items):,}; {len(ids) - new:,} of "
        f"the file were known.{told}\nWritten to {arguments.out}",
        arguments.json,
    )
