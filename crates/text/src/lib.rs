//! Text as tokens.
