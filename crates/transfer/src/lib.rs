//! Moves images between places: transports, the copy pipeline and the look-up of names.
