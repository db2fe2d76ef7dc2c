//! JPEG pixels. The crate `image` decodes JPEG files leniently, so that what is broken comes out grey; the decoder beneath
//! it can be strict, and is asked directly.

use std::io::Read;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::{Format, Problem};
use super::header::Header;

/// RGB pixels of a file whose header was checked.
pub(super) fn rgb(mut reader: impl Read, header: &Header) -> Result<Vec<u8>, Problem> {
    let mut file = Vec::new();
    reader.read_to_end(&mut file)?;
    let (width, height) = (header.width as usize, header.height as usize);
    let options = DecoderOptions::default().set_max_width(width).set_max_height(height);
    // Bytes between segments do no harm; strictness begins with the pixels.
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options.set_strict_mode(false));
    decoder.decode_headers().map_err(problem)?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let colours = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.set_strict_mode(true).jpeg_set_out_colorspace(colours));
    let expected = width * height * colours.num_components();
    if decoder.output_buffer_size() != Some(expected) {
        return Err(Problem::Broken { format: Format::Jpeg, why: "it has two sizes".to_owned() });
    }
    let mut pixels = vec![0; expected];
    decoder.decode_into(&mut pixels).map_err(problem)?;
    Ok(if grey { pixels.into_iter().flat_map(|value| [value; 3]).collect() } else { pixels })
}

fn problem(error: DecodeErrors) -> Problem {
    let (format, why) = (Format::Jpeg, error.to_string());
    match error {
        DecodeErrors::Unsupported(_) => Problem::Unsupported { format, why },
        _ => Problem::Broken { format, why },
    }
}
