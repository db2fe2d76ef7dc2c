//! Sound as tokens.
//!
//! A [`sound::Sound`] is what a file holds, as one channel of numbers. Two kinds of codec turn it into codes and back: samples
//! one by one, as the baseline ([`mulaw`]), and 20 ms frames, learned ([`codec`]). [`metrics`] say how much was lost.

pub mod codec;
pub mod metrics;
pub mod mulaw;
pub mod sound;
pub mod spectrum;
pub mod train;
