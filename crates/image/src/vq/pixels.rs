//! 8-bit pixels ↔ numbers from -1 to 1, channel after channel.

use burn::tensor::{Device, Tensor, TensorData, TensorReadError};

use crate::picture::Picture;

/// The pixels as `[1, 3, rows, columns]`; beyond the picture its last row and column go on.
pub(super) fn from_picture(picture: &Picture, [rows, columns]: [usize; 2], device: &Device) -> Tensor<4> {
    let Picture { width, height, rgb } = picture;
    let mut values = Vec::with_capacity(3 * rows * columns);
    for channel in 0..3 {
        for y in 0..rows {
            let row = &rgb[y.min(height - 1) * 3 * width..][..3 * width];
            values.extend((0..columns).map(|x| f32::from(row[3 * x.min(width - 1) + channel]) / 127.5 - 1.0));
        }
    }
    Tensor::from_data(TensorData::new(values, [1, 3, rows, columns]), device)
}

/// The upper left `width`×`height` of one picture.
pub(super) fn to_picture(pixels: Tensor<4>, width: usize, height: usize) -> Result<Picture, TensorReadError> {
    let [_, _, rows, columns] = pixels.dims();
    let values = pixels.try_into_vec_as::<f32>()?;
    let byte = |value: f32| (value.mul_add(127.5, 127.5)).round() as u8; // to 0..255: casts saturate
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            rgb.extend((0..3).map(|channel| byte(values[(channel * rows + y) * columns + x])));
        }
    }
    Ok(Picture { width, height, rgb })
}
