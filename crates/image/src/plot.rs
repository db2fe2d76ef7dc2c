//! Plain plots: lines and bars as pictures, with a font of 3×5 pixels.

use crate::picture::Picture;

/// A curve and its name.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name; small letters, digits and a few signs are drawn.
    pub name: String,
    /// Its points; those that are no numbers are left out.
    pub points: Vec<[f64; 2]>,
}

const WIDTH: usize = 900;
const HEIGHT: usize = 480;
/// Room for the numbers of the axes.
const MARGIN: [usize; 2] = [80, 40];
const INK: [u8; 3] = [40, 40, 40];
const FAINT: [u8; 3] = [225, 225, 225];
/// Of Okabe & Ito 2008: told apart by all eyes.
const COLOURS: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [0, 0, 0]];

/// Curves over one another; the heights are logarithms where all of them are above 0.
#[must_use]
pub fn lines(title: &str, curves: &[Curve]) -> Picture {
    let mut sheet = Sheet::new(title);
    let points = || curves.iter().flat_map(|curve| &curve.points).filter(|p| p.iter().all(|v| v.is_finite()));
    let logarithmic = points().all(|point| point[1] > 0.0);
    let height = |value: f64| if logarithmic { value.log10() } else { value };
    let (x, y) = (Span::of(points().map(|point| point[0])), Span::of(points().map(|point| height(point[1]))));
    sheet.axes(&x, &y, |value| if logarithmic { 10f64.powf(value) } else { value });
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places: Vec<[f64; 2]> = curve
            .points
            .iter()
            .filter(|point| point.iter().all(|v| v.is_finite()))
            .map(|point| sheet.place([x.share(point[0]), y.share(height(point[1]))]))
            .collect();
        places.windows(2).for_each(|pair| sheet.line(pair[0], pair[1], colour));
        sheet.text(&curve.name, [WIDTH - 150, 8 + 14 * index], colour);
    }
    sheet.picture
}

/// Bars side by side, as high as their numbers.
#[must_use]
pub fn bars(title: &str, values: &[f64]) -> Picture {
    let mut sheet = Sheet::new(title);
    let x = Span { low: 0.0, high: values.len().max(1) as f64 };
    let y = Span { low: 0.0, high: values.iter().copied().fold(1e-9, f64::max) };
    sheet.axes(&x, &y, |value| value);
    let columns = WIDTH - MARGIN[0] - 10;
    for column in 0..columns {
        // The highest of the bars that share a column of pixels.
        let (from, to) = (column * values.len() / columns, ((column + 1) * values.len()).div_ceil(columns));
        let value = values[from..to.min(values.len())].iter().copied().fold(0.0, f64::max);
        let x = (column as f64 + 0.5) / columns as f64;
        let (bottom, top) = (sheet.place([x, 0.0]), sheet.place([x, y.share(value)]));
        if value > 0.0 {
            sheet.line(bottom, top, COLOURS[0]);
        }
    }
    sheet.picture
}

struct Span {
    low: f64,
    high: f64,
}

impl Span {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        match low {
            _ if low < high => Self { low, high },
            // One number, or none.
            _ if low.is_finite() => Self { low: low.min(0.0), high: low.max(0.0) + 1.0 },
            _ => Self { low: 0.0, high: 1.0 },
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

struct Sheet {
    picture: Picture,
}

impl Sheet {
    fn new(title: &str) -> Self {
        let picture = Picture { width: WIDTH, height: HEIGHT, rgb: vec![255; 3 * WIDTH * HEIGHT] };
        let mut sheet = Self { picture };
        sheet.text(title, [MARGIN[0], 8], INK);
        sheet
    }

    /// Where a point between 0 and 1 lies.
    fn place(&self, point: [f64; 2]) -> [f64; 2] {
        let [left, bottom] = MARGIN;
        let (width, height) = ((WIDTH - left - 10) as f64, (HEIGHT - bottom - 30) as f64);
        [left as f64 + point[0] * width, 30.0 + (1.0 - point[1]) * height]
    }

    fn axes(&mut self, x: &Span, y: &Span, shown: impl Fn(f64) -> f64) {
        for part in 0..=4 {
            let share = f64::from(part) / 4.0;
            let (left, right) = (self.place([0.0, share]), self.place([1.0, share]));
            self.line(left, right, FAINT);
            let value = shown(y.low + share * (y.high - y.low));
            self.text(&short(value), [8, left[1] as usize - 5], INK);
            let bottom = self.place([share, 0.0]);
            let text = short(x.low + share * (x.high - x.low));
            let half = 4 * text.len();
            self.text(&text, [(bottom[0] as usize).saturating_sub(half).min(WIDTH - 2 * half), HEIGHT - 24], INK);
        }
    }

    fn dot(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < WIDTH && y < HEIGHT {
            self.picture.rgb[3 * (y * WIDTH + x)..][..3].copy_from_slice(&colour);
        }
    }

    fn line(&mut self, from: [f64; 2], to: [f64; 2], colour: [u8; 3]) {
        let steps = (to[0] - from[0]).abs().max((to[1] - from[1]).abs()).ceil().max(1.0);
        for step in 0..=steps as usize {
            let share = step as f64 / steps;
            let [x, y] = [0, 1].map(|axis| (from[axis] + share * (to[axis] - from[axis])).round() as usize);
            self.dot(x, y, colour);
        }
    }

    fn text(&mut self, text: &str, [x, y]: [usize; 2], colour: [u8; 3]) {
        for (index, glyph) in text.chars().map(|c| glyph(c.to_ascii_lowercase())).enumerate() {
            for bit in (0..15).filter(|bit| glyph >> (14 - bit) & 1 == 1) {
                for (right, down) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    self.dot(x + 8 * index + 2 * (bit % 3) + right, y + 2 * (bit / 3) + down, colour);
                }
            }
        }
    }
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{value:.1e}"),
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 1e-3 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// Five rows of three pixels, the first row in the highest bits.
fn glyph(c: char) -> u16 {
    const DIGITS: [u16; 10] = [
        0b111_101_101_101_111,
        0b010_110_010_010_111,
        0b111_001_111_100_111,
        0b111_001_111_001_111,
        0b101_101_111_001_001,
        0b111_100_111_001_111,
        0b111_100_111_101_111,
        0b111_001_010_010_010,
        0b111_101_111_101_111,
        0b111_101_111_001_111,
    ];
    const LETTERS: [u16; 26] = [
        0b010_101_111_101_101,
        0b110_101_110_101_110,
        0b011_100_100_100_011,
        0b110_101_101_101_110,
        0b111_100_110_100_111,
        0b111_100_110_100_100,
        0b011_100_101_101_011,
        0b101_101_111_101_101,
        0b111_010_010_010_111,
        0b001_001_001_101_010,
        0b101_101_110_101_101,
        0b100_100_100_100_111,
        0b101_111_111_101_101,
        0b110_101_101_101_101,
        0b010_101_101_101_010,
        0b110_101_110_100_100,
        0b010_101_101_110_011,
        0b110_101_110_101_101,
        0b011_100_010_001_110,
        0b111_010_010_010_010,
        0b101_101_101_101_111,
        0b101_101_101_101_010,
        0b101_101_111_111_101,
        0b101_101_010_101_101,
        0b101_101_010_010_010,
        0b111_001_010_100_111,
    ];
    match c {
        '0'..='9' => DIGITS[c as usize - '0' as usize],
        'a'..='z' => LETTERS[c as usize - 'a' as usize],
        '.' | ',' => 0b000_000_000_000_010,
        '-' => 0b000_000_111_000_000,
        ':' => 0b000_010_000_010_000,
        '%' => 0b101_001_010_100_101,
        '/' => 0b001_001_010_100_100,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inked(picture: &Picture, colour: [u8; 3]) -> usize {
        picture.pixels().filter(|pixel| *pixel == colour).count()
    }

    #[test]
    fn curves_and_bars_are_drawn_whatever_the_numbers() {
        let curve = |points: &[[f64; 2]]| Curve { name: "psnr".into(), points: points.to_vec() };
        let rising: Vec<[f64; 2]> = (1..100).map(|i| [f64::from(i), f64::from(i)]).collect();
        let plot = lines("loss", &[curve(&rising), curve(&[[0.0, 1.0], [50.0, f64::NAN], [90.0, 2.0]])]);
        assert!(plot.is_sound() && inked(&plot, COLOURS[0]) > 500 && inked(&plot, COLOURS[1]) > 500);
        for odd in
            [&[][..], &[[1.0, 1.0]], &[[1.0, 0.0], [1.0, 0.0]], &[[f64::NAN, 1.0]], &[[0.0, -1e300], [1.0, 1e300]]]
        {
            assert!(lines("odd", &[curve(odd)]).is_sound());
        }
        assert!(lines("none", &[]).is_sound());
        let plot = bars("codes", &[0.0, 3.0, 1.0, 2.0]);
        assert!(inked(&plot, COLOURS[0]) > 1000);
        assert!(bars("none", &[]).is_sound() && bars("many", &vec![1.0; 5000]).is_sound());
    }
}
