//! Neighbours of the formats.
