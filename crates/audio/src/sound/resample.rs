//! Sound at another rate, by band-limited interpolation: a windowed sinc, applied through Fourier transforms (`rubato`).

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler};

use super::{Problem, RATES, Sound};

/// Samples of a block at the lower rate, at least; the filter is as long, so that it falls within some 1 % of the band.
const BLOCK: u32 = 1024;
/// Samples of a block at the higher rate, at most: two rates up to 200 000 fit, whatever they are.
const MOST: u32 = 400_000;
/// Most samples that come out: 2 GiB of them.
const MOST_OUT: u64 = 1 << 29;

impl Sound {
    /// The sound at another rate, `round(len · rate / self.rate)` samples long. Time is kept: what was at a second still is.
    ///
    /// # Errors
    /// A rate beyond [`RATES`], two rates whose ratio is no fraction of numbers up to some hundred thousand, and more
    /// samples than 2²⁹.
    pub fn resample(self, rate: u32) -> Result<Self, Problem> {
        for rate in [self.rate, rate] {
            if !RATES.contains(&rate) {
                return Err(Problem::TargetRate { rate });
            }
        }
        if self.rate == rate || self.samples.is_empty() {
            return Ok(Self { rate, ..self });
        }
        let len = (self.samples.len() as u64 * u64::from(rate) + u64::from(self.rate) / 2) / u64::from(self.rate);
        if len > MOST_OUT {
            return Err(Problem::Resampler(format!("{len} samples would come out, at most {MOST_OUT} can")));
        }
        let block = block(self.rate, rate)?;
        let failed = |error: &dyn std::fmt::Display| Problem::Resampler(error.to_string());
        let mut resampler =
            Fft::<f32>::new_custom(self.rate as usize, rate as usize, block, 1, 1, WINDOW, FixedSync::Both)
                .map_err(|error| failed(&error))?;
        let input = SequentialSlice::new(&self.samples, 1, self.samples.len()).map_err(|error| failed(&error))?;
        let output = resampler.process_all(&input, self.samples.len(), None).map_err(|error| failed(&error))?;
        let mut samples = output.take_data();
        samples.resize(len as usize, 0.0); // it is rounded up
        Ok(Self { rate, samples })
    }
}

const WINDOW: rubato::WindowFunction = rubato::WindowFunction::BlackmanHarris2;

/// Samples of a block at the first rate. The number is even at both rates: the filter's middle is a sample then, and the
/// delay, half a block, is a whole number, which can be taken off again.
fn block(from: u32, to: u32) -> Result<usize, Problem> {
    let common = gcd(from, to);
    let (under, over) = (from / common, to / common);
    let times = BLOCK.div_ceil(under.min(over)).next_multiple_of(2);
    if under.max(over).saturating_mul(times) > MOST {
        return Err(Problem::Ratio { from, to, over, under });
    }
    Ok((under * times) as usize)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
