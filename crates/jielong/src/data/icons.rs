//! SVG drawings in the format of Iconify: all of a set in one JSON file, by name.

use std::collections::HashMap;

use jielong_image::picture::Picture;
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{ImageHrefResolver, Options, Tree};
use serde::Deserialize;

/// A set of drawings. Keys that mean nothing here are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Icons {
    icons: HashMap<String, Icon>,
    #[serde(default)]
    aliases: HashMap<String, Alias>,
    #[serde(flatten)]
    frame: Frame,
}

#[derive(Debug, Deserialize)]
struct Icon {
    body: String,
    #[serde(flatten)]
    frame: Frame,
}

/// Another name for a drawing, perhaps mirrored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    parent: String,
    #[serde(default)]
    h_flip: bool,
    #[serde(default)]
    v_flip: bool,
    #[serde(default)]
    rotate: i64,
}

/// Which part of the plane is shown; what a drawing does not say, its set says.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Frame {
    left: Option<f64>,
    top: Option<f64>,
    width: Option<f64>,
    height: Option<f64>,
}

impl Icons {
    /// The SVG document of a drawing, or what is wrong with it.
    pub(super) fn svg(&self, name: &str) -> Result<String, String> {
        let (mut name, mut flip) = (name, (false, false));
        // A chain of names longer than this is a circle.
        for _ in 0..8 {
            if let Some(icon) = self.icons.get(name) {
                return Ok(self.document(icon, flip));
            }
            let alias = self.aliases.get(name).ok_or_else(|| format!("no drawing is called `{name}`"))?;
            if alias.rotate != 0 {
                return Err(format!("`{name}` is a turned drawing, which is not supported"));
            }
            flip = (flip.0 ^ alias.h_flip, flip.1 ^ alias.v_flip);
            name = &alias.parent;
        }
        Err(format!("`{name}` stands for itself"))
    }

    fn document(&self, icon: &Icon, flip: (bool, bool)) -> String {
        let of = |value: fn(&Frame) -> Option<f64>, or: f64| value(&icon.frame).or(value(&self.frame)).unwrap_or(or);
        let (left, top) = (of(|f| f.left, 0.0), of(|f| f.top, 0.0));
        let (width, height) = (of(|f| f.width, 16.0), of(|f| f.height, 16.0)); // Iconify's own defaults
        let mirror = |flip: bool, start: f64, side: f64| if flip { (2.0 * start + side, -1) } else { (0.0, 1) };
        let ((x, sx), (y, sy)) = (mirror(flip.0, left, width), mirror(flip.1, top, height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"{width}\" \
             height=\"{height}\" viewBox=\"{left} {top} {width} {height}\">\
             <g transform=\"translate({x} {y}) scale({sx} {sy})\">{}</g></svg>",
            icon.body
        )
    }
}

/// Draws an SVG document in the middle of a square. Nothing outside the document is looked at: no file, no font.
pub(super) fn draw(svg: &str, size: u32, background: [u8; 3]) -> Result<Picture, String> {
    let nothing = ImageHrefResolver { resolve_data: Box::new(|_, _, _| None), resolve_string: Box::new(|_, _| None) };
    let options = Options { image_href_resolver: nothing, ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let mut canvas = Pixmap::new(size, size).ok_or("a picture without pixels")?;
    let [red, green, blue] = background;
    canvas.fill(Color::from_rgba8(red, green, blue, 255));
    let (width, height, side) = (tree.size().width(), tree.size().height(), size as f32);
    let scale = side / width.max(height);
    let (x, y) = ((side - width * scale) / 2.0, (side - height * scale) / 2.0);
    resvg::render(&tree, Transform::from_row(scale, 0.0, 0.0, scale, x, y), &mut canvas.as_mut());
    // All is opaque, so that premultiplied colours are the colours.
    let rgb = canvas.data().as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    Picture::new(size as usize, size as usize, rgb).ok_or_else(|| "a picture without pixels".to_owned())
}
