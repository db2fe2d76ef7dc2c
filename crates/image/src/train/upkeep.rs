//! Codes of a learned book that nothing uses: they begin again as vectors that occur.
//!
//! Zeghidour et al. 2021, *SoundStream*, §III-C; Dhariwal et al. 2020, *Jukebox*, §3.1: a code whose use, a mean over the last
//! steps, falls below a bound is replaced by a random vector of the batch.

use std::path::Path;

use jielong_nn::train::{Random, TaskError, write_file};
use serde::{Deserialize, Serialize};

/// When a code is replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpkeepConfig {
    /// How much of the mean use stays in a step.
    pub decay: f64,
    /// A code is replaced if it is used less than this share of what all would be if they were used alike; 0: never.
    pub below: f64,
    /// Steps between looks.
    pub every: u64,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self { decay: 0.99, below: 0.03, every: 20 }
    }
}

/// How much each code is used: shares of all uses, as a mean over steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    shares: Vec<f32>,
    /// Uses in this step, and which vectors they were.
    now: Vec<u32>,
}

/// A code that begins again as this vector of the batch.
pub type Replacement = (usize, usize);

impl Usage {
    /// A book whose codes are all used alike.
    #[must_use]
    pub fn new(codes: usize) -> Self {
        Self { shares: vec![1.0 / codes as f32; codes], now: vec![0; codes] }
    }

    /// Counts codes of a batch.
    pub fn count(&mut self, codes: &[u32]) {
        for &code in codes {
            self.now[code as usize] += 1;
        }
    }

    /// Ends a step: which codes begin again, each as one of `vectors` vectors of the batch.
    pub fn end(&mut self, config: &UpkeepConfig, step: u64, vectors: usize, random: &mut Random) -> Vec<Replacement> {
        let all = self.now.iter().sum::<u32>().max(1) as f32;
        let decay = config.decay as f32;
        for (share, now) in self.shares.iter_mut().zip(&mut self.now) {
            *share = decay * *share + (1.0 - decay) * std::mem::take(now) as f32 / all;
        }
        if !step.is_multiple_of(config.every.max(1)) || vectors == 0 {
            return Vec::new();
        }
        let alike = 1.0 / self.shares.len() as f32;
        let bound = config.below as f32 * alike;
        let unused = self.shares.iter_mut().enumerate().filter(|(_, share)| **share < bound);
        unused
            .map(|(code, share)| {
                *share = alike; // time to be found
                (code, random.below(vectors))
            })
            .collect()
    }

    /// Writes the shares, f32 one after another.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: &Path) -> Result<(), TaskError> {
        let bytes: Vec<u8> = self.shares.iter().flat_map(|share| share.to_le_bytes()).collect();
        write_file(path, &bytes)
    }

    /// Reads back what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// What the system says, or another number of codes.
    pub fn load(&mut self, path: &Path) -> Result<(), TaskError> {
        let bytes = std::fs::read(path)?;
        let (values, rest) = bytes.as_chunks::<4>();
        if values.len() != self.shares.len() || !rest.is_empty() {
            let expected = 4 * self.shares.len();
            return Err(format!("{}: {} bytes, expected {expected}", path.display(), bytes.len()).into());
        }
        self.shares = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unused_code_begins_again_and_the_state_survives() {
        let config = UpkeepConfig { decay: 0.5, below: 0.1, every: 5 };
        let mut usage = Usage::new(4);
        for step in 1..10 {
            usage.count(&[0, 1, 1, 3, 0]);
            let replaced = usage.end(&config, step, 5, &mut Random::at(&[step]));
            let codes: Vec<usize> = replaced.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, if step == 5 { vec![2] } else { vec![] }, "{step}");
            assert!(replaced.iter().all(|(_, vector)| *vector < 5));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        usage.save(&path).unwrap();
        let mut again = Usage::new(4);
        again.load(&path).unwrap();
        assert_eq!(again, usage);
        assert!(Usage::new(5).load(&path).unwrap_err().to_string().contains("16 bytes, expected 20"));
    }
}
