//! Turns requested targets into one graph and brings every node to a result with the least work.
