"""Items that nobody has clicked yet, in a trained model."""

from keras_multvae.cold_start.added import Known, with_items
from keras_multvae.cold_start.calibration import Calibration
from keras_multvae.cold_start.judges import judges_of

__all__ = ["Calibration", "Known", "judges_of", "with_items"]
