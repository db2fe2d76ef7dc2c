//! 8-bit pixels ↔ numbers from -1 to 1, channel after channel.

use burn::tensor::{Device, Tensor, TensorData, TensorReadError};

use crate::picture::Picture;

/// The pixels as `[pictures, 3, rows, columns]`; beyond a picture its last row and column go on.
pub(crate) fn from_pictures(pictures: &[Picture], [rows, columns]: [usize; 2], device: &Device) -> Tensor<4> {
    let mut values = Vec::with_capacity(3 * pictures.len() * rows * columns);
    for Picture { width, height, rgb } in pictures {
        for channel in 0..3 {
            for y in 0..rows {
                let row = &rgb[y.min(height - 1) * 3 * width..][..3 * width];
                values.extend((0..columns).map(|x| f32::from(row[3 * x.min(width - 1) + channel]) / 127.5 - 1.0));
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [pictures.len(), 3, rows, columns]), device)
}

/// The upper left `width`×`height` of each picture.
pub(crate) fn to_pictures(pixels: Tensor<4>, width: usize, height: usize) -> Result<Vec<Picture>, TensorReadError> {
    let [count, _, rows, columns] = pixels.dims();
    let values = pixels.try_into_vec_as::<f32>()?;
    let byte = |value: f32| (value.mul_add(127.5, 127.5)).round() as u8; // to 0..255: casts saturate
    let picture = |index: usize| {
        let mut rgb = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            for x in 0..width {
                rgb.extend((0..3).map(|c| byte(values[((index * 3 + c) * rows + y) * columns + x])));
            }
        }
        Picture { width, height, rgb }
    };
    Ok((0..count).map(picture).collect())
}
