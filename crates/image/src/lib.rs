//! Pictures as tokens: a learned codec with one token for each 16×16 patch, and colours as tokens for comparison.

#![recursion_limit = "256"]

pub mod metrics;
pub mod picture;
pub mod pixel;
pub mod plot;
pub mod train;
pub mod vq;
