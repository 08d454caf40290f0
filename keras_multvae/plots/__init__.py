"""Plots of training and its results. matplotlib is imported when a plot is made."""

from keras_multvae.plots.style import figure_class, save
from keras_multvae.plots.trade_off import plot_trade_off
from keras_multvae.plots.trainings import (
    plot_annealing,
    plot_by_activity,
    plot_history,
    plot_importances,
)

__all__ = [
    "figure_class",
    "plot_annealing",
    "plot_by_activity",
    "plot_history",
    "plot_importances",
    "plot_trade_off",
    "save",
]
