//! Samples as codes, the baseline: 8 bits of µ-law a sample, as WaveNet predicts them.
//!
//! WaveNet: van den Oord, Dieleman, Zen, Simonyan, Vinyals, Graves, Kalchbrenner, Senior, Kavukcuoglu, "WaveNet: a generative
//! model for raw audio" (2016), section 2.2: `f(x) = sign(x) ln(1 + µ|x|) / ln(1 + µ)` with µ = 255, on 256 even steps from
//! -1 to 1. Rounding is that of torchaudio's `mu_law_encoding` and `mu_law_decoding`. This is not the µ-law of telephones
//! (ITU-T G.711), which goes straight in segments, and has its sign in a bit of its own.

use jielong_core::{Codec, CodecError, Codes};

use crate::sound::Sound;

const MU: f64 = 255.0;

/// The code of a sample: 0 for -1, 128 for silence, 255 for 1.
///
/// What is beyond full scale counts as full scale, and what is not a number as silence.
pub fn encode(sample: f32) -> u8 {
    let sample = if sample.is_nan() { 0.0 } else { f64::from(sample.clamp(-1.0, 1.0)) };
    let squeezed = (MU * sample.abs()).ln_1p() / MU.ln_1p();
    ((squeezed.copysign(sample) + 1.0) / 2.0 * MU + 0.5) as u8 // from 0.5 to 255.5, rounded down
}

/// The sample of a code, within ±1.
///
/// No code is exactly zero: 127 and 128 are -8.6e-5 and 8.6e-5, less than three steps of 16 bits.
pub fn decode(code: u8) -> f32 {
    let squeezed = f64::from(code) / MU * 2.0 - 1.0;
    let sample = (squeezed.abs() * MU.ln_1p()).exp_m1() / MU;
    sample.copysign(squeezed) as f32
}

/// One code a sample, at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuLaw {
    /// Samples a second of the sounds it takes and makes.
    pub rate: u32,
}

impl Default for MuLaw {
    /// 16 kHz, the rate of WaveNet's speech.
    fn default() -> Self {
        Self { rate: 16_000 }
    }
}

impl Codec for MuLaw {
    type Media = Sound;

    fn books(&self) -> &[u32] {
        &[256]
    }

    fn vectors(&self, _: usize) -> Result<Vec<Vec<f32>>, CodecError> {
        Ok((0..=u8::MAX).map(|code| vec![code.into()]).collect()) // as loud sounds are heard: by ratios
    }

    /// Size and grid are `[samples]`.
    fn encode(&self, sound: &Sound) -> Result<Codes, CodecError> {
        if sound.rate != self.rate {
            return Err(CodecError::Shape(format!(
                "a sound of {} Hz, but this codec is for {} Hz; resample it first",
                sound.rate, self.rate
            )));
        }
        if sound.samples.is_empty() {
            return Err(CodecError::Shape("a sound without a sample has no codes".into()));
        }
        if let Some(place) = sound.samples.iter().position(|sample| !sample.is_finite()) {
            let sample = sound.samples[place];
            return Err(CodecError::Shape(format!("sample {place} is {sample}: expected finite numbers within ±1")));
        }
        let (values, size) = (sound.samples.iter().map(|&sample| encode(sample).into()).collect(), sound.samples.len());
        Ok(Codes { size: vec![size], grid: vec![size], books: 1, values })
    }

    fn decode(&self, codes: &Codes) -> Result<Sound, CodecError> {
        codes.check(self.books())?;
        match (codes.size.as_slice(), codes.grid.as_slice()) {
            (&[samples], &[frames]) if samples > 0 && samples == frames => {
                let samples = codes.values.iter().map(|&code| decode(code as u8)).collect(); // below 256, as was checked
                Ok(Sound { rate: self.rate, samples })
            }
            (size, grid) => Err(CodecError::Shape(format!(
                "codes of size {size:?} on a grid of {grid:?}: expected [samples], the same twice, not zero"
            ))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn oracle() -> Value {
        serde_json::from_str(include_str!("../../../tests/oracle/sound-metrics/mulaw.json")).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[test]
    fn the_codes_of_torchaudio() {
        let oracle = oracle();
        for pair in oracle["encode_samples"].as_array().unwrap() {
            let pair = numbers(pair);
            assert_eq!(f64::from(encode(pair[0] as f32)), pair[1], "sample {}", pair[0]);
        }
        let mut firsts = vec![None; 256];
        for sample in i16::MIN..=i16::MAX {
            firsts[usize::from(encode(f32::from(sample) / 32768.0))].get_or_insert(f64::from(sample));
        }
        let expected: Vec<Option<f64>> =
            oracle["encode_s16_first_sample_of_each_code"].as_array().unwrap().iter().map(Value::as_f64).collect();
        assert_eq!(firsts, expected);
    }

    #[test]
    fn the_samples_of_torchaudio() {
        for (code, expected) in (0..=255).zip(numbers(&oracle()["decode_table"])) {
            assert_eq!(decode(code), expected as f32, "code {code}");
            assert_eq!(encode(decode(code)), code);
        }
    }

    #[test]
    fn what_is_no_sample_has_a_code_all_the_same() {
        assert_eq!([f32::NAN, 0.0, -0.0].map(encode), [128, 128, 128]);
        assert_eq!([f32::INFINITY, 7.0, -7.0, f32::NEG_INFINITY].map(encode), [255, 255, 0, 0]);
    }

    #[test]
    fn sounds_and_codes_that_are_refused() {
        let codec = MuLaw::default();
        for (rate, samples, words) in [
            (8000, vec![0.0], "8000 Hz"),
            (16_000, vec![], "without"),
            (16_000, vec![0.0, f32::NAN], "sample 1 is NaN"),
        ] {
            let error = codec.encode(&Sound { rate, samples }).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let codes =
            |size: usize, grid: usize, values: Vec<u32>| Codes { size: vec![size], grid: vec![grid], books: 1, values };
        assert!(matches!(codec.decode(&codes(1, 1, vec![256])), Err(CodecError::Code { code: 256, .. })));
        for wrong in [codes(0, 0, vec![]), codes(3, 2, vec![1, 2]), codes(2, 2, vec![1])] {
            assert!(matches!(codec.decode(&wrong), Err(CodecError::Shape(_))), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_sample_comes_back_within_half_a_step(sample in -1f32..=1.0) {
            // A step of codes is one of 2 ln(256) / 255 · (|x| + 1/255) in x: half of it to each side, and a little for its bend.
            let bound = 256f32.ln() / 255.0 * (sample.abs() + 1.0 / 255.0) * 1.03;
            prop_assert!((decode(encode(sample)) - sample).abs() <= bound);
        }

        #[test]
        fn louder_samples_have_larger_codes(a in -1.2f32..1.2, b in -1.2f32..1.2) {
            prop_assert!(a > b || encode(a) <= encode(b));
        }

        #[test]
        fn codes_survive_a_round_trip(values in prop::collection::vec(0u32..256, 1..200)) {
            let (codec, size) = (MuLaw { rate: 8000 }, values.len());
            let codes = Codes { size: vec![size], grid: vec![size], books: 1, values };
            let sound = codec.decode(&codes).unwrap();
            prop_assert_eq!(sound.rate, 8000);
            prop_assert_eq!(codec.encode(&sound).unwrap(), codes);
        }
    }
}
