"""What a column of items can be read as. No NumPy here, as the parser needs it."""

# What a column may be asked to be read as, `NAME:KIND`.
KINDS = ("labels", "words", "number")
# Between the labels of an item, as MovieLens has it between genres.
SEPARATOR = "|"
