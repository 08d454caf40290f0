"""The options of `add-items`. No Keras here."""

from __future__ import annotations

import argparse

from keras_multvae.cli.common_options import add_import_option
from keras_multvae.cli.data_options import add_text_options
from keras_multvae.cli.model_options import converter
from keras_multvae.features.kinds import SEPARATOR
from keras_multvae.settings import Number

_share = converter(Number(float, lambda x: 0 <= x <= 1, "a number in [0, 1]"))


def add_add_items_options(sub: argparse.ArgumentParser) -> None:
    """The options of `add-items`."""
    sub.add_argument("model", help="folder that train wrote, of data with --features")
    sub.add_argument(
        "items",
        metavar="FILE",
        help="items with the columns that prepare took for features: a file of any "
        "kind that prepare reads",
    )
    sub.add_argument("--out", required=True, help="folder for the model with them")
    sub.add_argument("--item-column", default="item_id", help="of item ids")
    sub.add_argument(
        "--title-column", default="title", help="of titles; none for no titles"
    )
    sub.add_argument(
        "--label-separator", default=SEPARATOR, help="between the labels of an item"
    )
    add_text_options(sub)
    sub.add_argument(
        "--prepared",
        help="folder that prepare wrote, whose validation users judge how strongly new "
        "items compete; default: users whose histories the model keeps",
    )
    sub.add_argument(
        "--warm-loss",
        type=_share,
        default=0.005,
        metavar="SHARE",
        help="of NDCG@100 that the items of before may lose to new ones",
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")
    add_import_option(sub)
