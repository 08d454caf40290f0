"""Events from files, frames and arrays -> entries of a matrix."""
