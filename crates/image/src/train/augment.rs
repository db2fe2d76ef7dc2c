//! Random changes of pictures, so that few of them are many: another part, size, side, hue.

use jielong_nn::train::{ChangesError, Random};
use serde::{Deserialize, Serialize};

use crate::picture::{EditError, Filter, Picture};

/// How pictures are changed. All are 0 by default: no change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Share of pictures that are mirrored.
    pub flip: f64,
    /// The most that a picture is moved, as a share of its side; what comes in continues its edge.
    pub shift: f64,
    /// The most that half of the pictures are made smaller or larger, as a factor less one: 0.25 is 0.8 to 1.25.
    pub zoom: f64,
    /// The most that half of the pictures are turned in hue, in degrees.
    pub hue: f64,
}

/// The whole picture at `size`×`size`, on white where it is not square.
///
/// # Errors
/// [`EditError`], if the picture is not sound.
pub fn whole(picture: &Picture, size: usize) -> Result<Picture, EditError> {
    let filter = if picture.width.max(picture.height) > size { Filter::Area } else { Filter::Lanczos3 };
    picture.fit(size, size, filter)?.pad(size, size, [255; 3])
}

impl Changes {
    /// Refuses what is no change: flips and shifts are shares, zoom is at most 10, hue at most half a turn.
    ///
    /// # Errors
    /// [`ChangesError`], the first of them.
    pub fn check(&self) -> Result<(), ChangesError> {
        let all =
            [("flip", self.flip, 1.0), ("shift", self.shift, 1.0), ("zoom", self.zoom, 10.0), ("hue", self.hue, 180.0)];
        ChangesError::check(&all)
    }

    /// A square of the picture at `size`×`size`, changed at random.
    ///
    /// # Errors
    /// As [`whole`].
    pub fn apply(&self, picture: &Picture, size: usize, random: &mut Random) -> Result<Picture, EditError> {
        let side = picture.width.min(picture.height);
        let (x, y) = (random.below(picture.width - side + 1), random.below(picture.height - side + 1));
        let square = whole(&picture.crop(x, y, side, side)?, size)?;
        let mirror = random.unit() < self.flip;
        let most = (self.shift * size as f64) as usize;
        let mut shift = || random.below(2 * most + 1) as f64 - most as f64;
        let (dx, dy) = (shift(), shift());
        let zoom = random.half(self.zoom).map(|power| (1.0 + self.zoom).powf(power));
        let hue = random.half(self.hue).map(|turn| turn * self.hue);
        let moved = warp(&square, mirror, [dx, dy], zoom.unwrap_or(1.0));
        Ok(match hue {
            Some(degrees) => turned(moved, degrees),
            None => moved,
        })
    }
}

/// The picture larger by `zoom` around its middle, then moved; between pixels by lines (bilinear).
fn warp(picture: &Picture, mirror: bool, shift: [f64; 2], zoom: f64) -> Picture {
    let Picture { width, height, .. } = *picture;
    let places = |count: usize, shift: f64, mirror: bool| -> Vec<(usize, usize, f64)> {
        let middle = (count as f64 - 1.0) / 2.0;
        let place = |index: usize| {
            let from = (index as f64 - middle - shift) / zoom;
            let from = (middle + if mirror { -from } else { from }).clamp(0.0, count as f64 - 1.0);
            let low = from.floor();
            (low as usize, (low as usize + 1).min(count - 1), from - low)
        };
        (0..count).map(place).collect()
    };
    let (columns, rows) = (places(width, shift[0], mirror), places(height, shift[1], false));
    let mut rgb = Vec::with_capacity(picture.rgb.len());
    for &(top, bottom, down) in &rows {
        for &(left, right, across) in &columns {
            let at = |y: usize, x: usize, channel: usize| f64::from(picture.rgb[3 * (y * width + x) + channel]);
            rgb.extend((0..3).map(|channel| {
                let upper = at(top, left, channel) * (1.0 - across) + at(top, right, channel) * across;
                let lower = at(bottom, left, channel) * (1.0 - across) + at(bottom, right, channel) * across;
                (upper * (1.0 - down) + lower * down).round() as u8
            }));
        }
    }
    Picture { width, height, rgb }
}

/// The picture with its colours turned around the line of greys.
fn turned(mut picture: Picture, degrees: f64) -> Picture {
    // Rotation around (1, 1, 1)/√3 (Rodrigues).
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (third, root) = ((1.0 - cos) / 3.0, sin / 3f64.sqrt());
    let [same, next, before] = [cos + third, third - root, third + root];
    for pixel in picture.rgb.as_chunks_mut::<3>().0 {
        let [r, g, b] = pixel.map(f64::from);
        let value = |a: f64, b: f64, c: f64| (same * a + next * b + before * c).round() as u8; // casts saturate
        *pixel = [value(r, g, b), value(g, b, r), value(b, r, g)];
    }
    picture
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picture() -> Picture {
        let rgb = (0..3 * 20 * 16).map(|i| (i * 7 % 256) as u8).collect();
        Picture::new(20, 16, rgb).unwrap()
    }

    #[test]
    fn nothing_is_changed_unless_asked_for() {
        let square = picture().crop(0, 0, 16, 16).unwrap();
        let same = Changes::default().apply(&square, 16, &mut Random::at(&[1])).unwrap();
        assert_eq!(same, square);
        let all = Changes { flip: 0.5, shift: 0.2, zoom: 0.3, hue: 180.0 };
        let changed = |seed| all.apply(&picture(), 8, &mut Random::at(&[seed])).unwrap();
        assert_eq!(changed(3), changed(3));
        assert_ne!(changed(3), changed(4));
        assert!((0..50).all(|seed| changed(seed).is_sound() && changed(seed).width == 8));
    }

    #[test]
    fn pictures_are_mirrored_moved_and_turned() {
        let square = picture().crop(0, 0, 16, 16).unwrap();
        let mirrored = warp(&square, true, [0.0, 0.0], 1.0);
        assert_eq!(mirrored.pixels().next(), square.pixels().nth(15));
        assert_eq!(warp(&mirrored, true, [0.0, 0.0], 1.0), square);
        let moved = warp(&square, false, [2.0, -1.0], 1.0);
        assert_eq!(moved.pixels().nth(2), square.pixels().nth(16));
        let grey = Picture::filled(4, 4, [90; 3]).unwrap();
        assert_eq!(turned(grey.clone(), 77.0), grey);
        let red = Picture::filled(1, 1, [200, 0, 0]).unwrap();
        assert_eq!(turned(red.clone(), 120.0).rgb, [0, 200, 0]);
        assert_eq!(turned(turned(red.clone(), 120.0), -120.0), red);
        assert_eq!(whole(&picture(), 10).unwrap().width, 10);
    }
}
