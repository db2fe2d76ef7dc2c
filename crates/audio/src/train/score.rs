//! How good a codec is: on held-out recordings, in numbers.

use jielong_core::{Codec, CodecError};
use rayon::prelude::*;

use crate::metrics::mel::mel_distance;
use crate::metrics::pesq::pesq_wideband;
use crate::metrics::sdr::{Mean, si_sdr};
use crate::metrics::stoi::{Intelligibility, stoi};
use crate::sound::Sound;

/// Scores of a codec on some recordings. Each metric is a mean over those that it is defined for: silence, for one, has no
/// intelligibility.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Recordings scored.
    pub recordings: usize,
    /// Their length in seconds.
    pub seconds: f64,
    /// STOI, and of how many recordings.
    pub stoi: (f64, usize),
    /// Extended STOI.
    pub estoi: (f64, usize),
    /// SI-SDR in dB.
    pub si_sdr: (f64, usize),
    /// PESQ, wideband; left out where it was not asked for.
    pub pesq: (f64, usize),
    /// Multi-scale mel distance.
    pub mel: (f64, usize),
    /// How often each code of each book was used.
    pub counts: Vec<Vec<u64>>,
}

/// What is measured besides codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measures {
    /// Without PESQ, which takes longer than all the others.
    Quick,
    /// All of them.
    All,
}

impl Score {
    /// Share of the codes that were used at all, over all books.
    #[must_use]
    pub fn usage(&self) -> f64 {
        let all: usize = self.counts.iter().map(Vec::len).sum();
        let used = self.counts.iter().flatten().filter(|count| **count > 0).count();
        used as f64 / all.max(1) as f64
    }

    /// 2 to the entropy of a code in bits, the mean of the books: as many codes, used alike, would say as much.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        let of = |counts: &Vec<u64>| {
            let all = counts.iter().sum::<u64>().max(1) as f64;
            let shares = counts.iter().filter(|count| **count > 0).map(|&count| count as f64 / all);
            (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
        };
        self.counts.iter().map(of).sum::<f64>() / self.counts.len().max(1) as f64
    }
}

/// Scores a codec; `seen` gets each recording with its reconstruction, in order.
///
/// # Errors
/// [`CodecError`], or what the recordings say.
pub fn score<E: From<CodecError>>(
    codec: &dyn Codec<Media = Sound>,
    recordings: impl Iterator<Item = Result<Sound, E>>,
    measures: Measures,
    mut seen: impl FnMut(&Sound, &Sound),
) -> Result<Score, E> {
    let mut counts: Vec<Vec<u64>> = codec.books().iter().map(|&book| vec![0; book as usize]).collect();
    let mut pairs = Vec::new();
    for recording in recordings {
        let recording = recording?;
        if recording.samples.is_empty() {
            continue;
        }
        let codes = codec.encode(&recording)?;
        for place in codes.values.chunks_exact(codes.books) {
            place.iter().zip(&mut counts).for_each(|(&code, counts)| counts[code as usize] += 1);
        }
        let reconstruction = codec.decode(&codes)?;
        seen(&recording, &reconstruction);
        pairs.push((recording, reconstruction));
    }
    let measure = |(a, b): &(Sound, Sound)| -> [Option<f64>; 5] {
        let (a, b, rate) = (&a.samples, &b.samples, a.rate);
        let stoi = |which| stoi(a, b, which).ok();
        let pesq = (measures == Measures::All).then(|| pesq_wideband(a, b).ok()).flatten();
        [
            stoi(Intelligibility::Stoi),
            stoi(Intelligibility::Estoi),
            si_sdr(a, b, Mean::Removed).ok(),
            pesq,
            mel_distance(a, b, rate).ok(),
        ]
    };
    let found: Vec<_> = pairs.par_iter().map(measure).collect();
    let mean = |index: usize| {
        let values: Vec<f64> = found.iter().filter_map(|all| all[index]).filter(|value| value.is_finite()).collect();
        (values.iter().sum::<f64>() / values.len().max(1) as f64, values.len())
    };
    Ok(Score {
        recordings: pairs.len(),
        seconds: pairs.iter().map(|(recording, _)| recording.seconds()).sum(),
        stoi: mean(0),
        estoi: mean(1),
        si_sdr: mean(2),
        pesq: mean(3),
        mel: mean(4),
        counts,
    })
}
