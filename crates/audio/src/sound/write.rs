//! WAV files of 16 bits.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::{RATES, Sound, WriteError};

/// Bytes that `hound` writes before the samples.
const HEADER: usize = 44;
/// Most samples: sizes in the file have 32 bits.
const MOST: usize = (u32::MAX as usize - HEADER) / 2;

impl Sound {
    /// A WAV file of the sound: one channel of 16-bit PCM, rounded to the nearest, clipped where it is beyond full scale.
    ///
    /// A sample `s` is stored as `round(32768 s)`, so that 16-bit files come back as they were.
    ///
    /// # Errors
    /// A sample that is no number, a rate that cannot be read again, more than 2³¹ samples.
    pub fn to_wav(&self) -> Result<Vec<u8>, WriteError> {
        if !RATES.contains(&self.rate) {
            return Err(WriteError::Rate { rate: self.rate });
        }
        if self.samples.len() > MOST {
            return Err(WriteError::TooLong { samples: self.samples.len(), limit: MOST });
        }
        if let Some((at, &value)) = self.samples.iter().enumerate().find(|(_, sample)| !sample.is_finite()) {
            return Err(WriteError::NotFinite { at, value });
        }
        let mut wav = Vec::with_capacity(HEADER + 2 * self.samples.len());
        self.write(&mut wav).map_err(|error| WriteError::Wav(error.to_string()))?;
        Ok(wav)
    }

    fn write(&self, wav: &mut Vec<u8>) -> hound::Result<()> {
        let spec =
            WavSpec { channels: 1, sample_rate: self.rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::new(Cursor::new(wav), spec)?;
        for &sample in &self.samples {
            writer.write_sample((f64::from(sample) * 32_768.0).round() as i16)?; // the conversion clips
        }
        writer.finalize()
    }
}
