"""`python -m keras_multvae`."""

import sys

from keras_multvae.cli import main

sys.exit(main())
