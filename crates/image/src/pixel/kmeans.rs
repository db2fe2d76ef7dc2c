//! A palette from pictures: k-means over their colours (Lloyd 1982), begun as k-means++ does (Arthur and Vassilvitskii
//! 2007). The same pictures and the same seed give the same palette.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::RngCore;

use super::nearest::{Nearest, square};
use super::palette::{Palette, PaletteError};
use crate::picture::Picture;

/// How often each colour occurs in some pictures. Takes 64 MiB.
#[derive(Clone)]
pub struct Colours(Vec<u32>);

/// How a palette is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Colours of the palette.
    pub colours: usize,
    /// Most rounds; it ends before when nothing changes any more.
    pub rounds: usize,
    /// Where chance begins.
    pub seed: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { colours: 512, rounds: 50, seed: 0 }
    }
}

impl Default for Colours {
    fn default() -> Self {
        Self(vec![0; 1 << 24])
    }
}

impl Colours {
    /// Counts the pixels of a picture.
    pub fn add(&mut self, picture: &Picture) {
        for [r, g, b] in picture.pixels() {
            let count = &mut self.0[u32::from_be_bytes([0, r, g, b]) as usize];
            *count = count.saturating_add(1);
        }
    }

    /// The colours that occur, and how often.
    fn counted(&self) -> Vec<([u8; 3], f64)> {
        let occurring = self.0.iter().zip(0u32..).filter(|(count, _)| **count > 0);
        let split = |number: u32| {
            let [_, r, g, b] = number.to_be_bytes();
            [r, g, b]
        };
        occurring.map(|(&count, number)| (split(number), f64::from(count))).collect()
    }
}

impl Palette {
    /// Learns a palette: the mean squared error of all pixels counted is made small. Colours are in order of their luma.
    ///
    /// # Errors
    /// More colours wanted than there are, or than a palette has, or none.
    pub fn learn(colours: &Colours, learning: &Learning) -> Result<Self, PaletteError> {
        let counted = colours.counted();
        let (found, wanted) = (counted.len(), learning.colours);
        if wanted == 0 || wanted > 1 << 16 {
            return Err(PaletteError::Count { found: wanted });
        }
        if found < wanted {
            return Err(PaletteError::TooFew { found, wanted });
        }
        let mut centres = begin(&counted, learning);
        let mut places = Vec::new();
        for _ in 0..learning.rounds {
            let nearest = Nearest::new(centres.clone());
            let now: Vec<(u16, f32)> = counted.iter().map(|(colour, _)| nearest.find(*colour)).collect();
            let changed = places.len() != now.len() || places.iter().zip(&now).any(|(a, (b, _))| a != b);
            places = now.iter().map(|(place, _)| *place).collect();
            if !changed {
                break;
            }
            centres = means(&counted, now, wanted);
        }
        let mut colours: Vec<[u8; 3]> = centres.iter().map(|centre| centre.map(|x| x.round() as u8)).collect();
        colours.sort_by_key(|&[r, g, b]| (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b), [r, g, b]));
        Self::new(colours)
    }
}

/// The first centres: each next one a colour drawn in proportion to how often it occurs, times the square of its distance
/// from those before.
fn begin(counted: &[([u8; 3], f64)], learning: &Learning) -> Vec<[f32; 3]> {
    let mut chance = Pcg64::new(learning.seed.into(), 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96);
    let mut centres: Vec<[f32; 3]> = Vec::with_capacity(learning.colours);
    let mut squares = vec![f32::INFINITY; counted.len()];
    while centres.len() < learning.colours {
        let first = centres.is_empty();
        let weight =
            |(square, (_, count)): (&f32, &([u8; 3], f64))| if first { *count } else { f64::from(*square) * count };
        let total: f64 = squares.iter().zip(counted).map(weight).sum();
        let mut left = total * (chance.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut drawn = None;
        for (index, pair) in squares.iter().zip(counted).enumerate() {
            let weight = weight(pair);
            if weight > 0.0 {
                drawn = Some(index); // the last one with a weight, should rounding use up the others
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        let Some((colour, _)) = drawn.and_then(|index| counted.get(index)) else { break };
        let centre = colour.map(f32::from);
        for (least, (colour, _)) in squares.iter_mut().zip(counted) {
            *least = least.min(square(&centre, *colour));
        }
        centres.push(centre);
    }
    centres
}

/// The mean colour of each place. One that nobody is nearest to goes where the error is largest.
fn means(counted: &[([u8; 3], f64)], mut places: Vec<(u16, f32)>, count: usize) -> Vec<[f32; 3]> {
    let mut sums = vec![([0.0f64; 3], 0.0f64); count];
    for ((colour, weight), (place, _)) in counted.iter().zip(&places) {
        let (sum, total) = &mut sums[usize::from(*place)];
        sum.iter_mut().zip(colour).for_each(|(sum, &value)| *sum += weight * f64::from(value));
        *total += weight;
    }
    let mut worst = || {
        let errors = counted.iter().zip(&places).map(|((_, weight), (_, square))| f64::from(*square) * weight);
        let index = errors.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index);
        places[index].1 = 0.0;
        counted[index].0.map(f32::from)
    };
    let mean = |(sum, total): ([f64; 3], f64)| {
        if total > 0.0 { sum.map(|sum| (sum / total) as f32) } else { worst() }
    };
    sums.into_iter().map(mean).collect()
}
