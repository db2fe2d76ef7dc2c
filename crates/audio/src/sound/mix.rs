//! Channels into one, with the limits on length.

use super::error::{Format, Problem};
use super::{RATES, Sound};

/// Most samples a channel: 2 GiB of them.
const MOST: u64 = 1 << 29;

/// Gathers samples of several channels as their mean.
pub(super) struct Mix {
    format: Format,
    rate: u32,
    channels: usize,
    seconds: f64,
    samples: Vec<f32>,
}

impl Mix {
    /// Nothing yet, of a sound with this rate and these channels, up to `seconds`.
    pub(super) fn new(format: Format, rate: u32, channels: usize, seconds: f64) -> Result<Self, Problem> {
        if channels == 0 {
            return Err(Problem::NoChannels { format });
        }
        if !RATES.contains(&rate) {
            return Err(Problem::Rate { format, rate });
        }
        Ok(Self { format, rate, channels, seconds, samples: Vec::new() })
    }

    /// Whether so many samples a channel are allowed.
    pub(super) fn check(&self, samples: u64) -> Result<(), Problem> {
        let (format, seconds, limit) = (self.format, samples as f64 / f64::from(self.rate), self.seconds);
        // A limit that is no number lets nothing through.
        if samples > 0 && !matches!(seconds.partial_cmp(&limit), Some(order) if order.is_le()) {
            return Err(Problem::TooLong { format, seconds, limit });
        }
        if samples > MOST {
            return Err(Problem::TooManySamples { format, samples, limit: MOST });
        }
        Ok(())
    }

    /// Makes room for what [`check`](Self::check) let through.
    pub(super) fn reserve(&mut self, samples: u64) {
        self.samples.reserve_exact(usize::try_from(samples.min(MOST)).unwrap_or(0));
    }

    /// More samples, those of all channels side by side, a whole number of times.
    pub(super) fn extend(&mut self, interleaved: impl ExactSizeIterator<Item = f64>) -> Result<(), Problem> {
        self.check((self.samples.len() + interleaved.len() / self.channels) as u64)?;
        let (mut sum, mut channel) = (0.0, 0);
        for value in interleaved {
            channel += 1;
            if !(value as f32).is_finite() {
                return Err(self.not_finite(channel, value as f32));
            }
            sum += value;
            if channel == self.channels {
                self.samples.push((sum / self.channels as f64) as f32);
                (sum, channel) = (0.0, 0);
            }
        }
        Ok(())
    }

    /// Samples a channel so far.
    pub(super) fn len(&self) -> u64 {
        self.samples.len() as u64
    }

    /// Whether it gathers sound of this rate and these channels.
    pub(super) fn is_of(&self, rate: u32, channels: usize) -> bool {
        (self.rate, self.channels) == (rate, channels)
    }

    /// What was gathered.
    pub(super) fn sound(self) -> Sound {
        Sound { rate: self.rate, samples: self.samples }
    }

    fn not_finite(&self, channel: usize, value: f32) -> Problem {
        let seconds = self.samples.len() as f64 / f64::from(self.rate);
        Problem::NotFinite { format: self.format, at: self.len(), seconds, channel, value }
    }
}
