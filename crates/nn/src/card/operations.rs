//! The kernels as operations on Burn's tensors, run later and in order with all others where operations are fused.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension, cubecl::dtype_to_storage_type};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, CubeDim};

use super::kernels::{attend, gated, norm, rows, turn};
use crate::attention::Scores;

/// Planes of a cube that multiplies rows.
const PLANES: u32 = 8;
/// Units of a cube that attends.
const UNITS: u32 = 1024;
/// Bytes that a unit reads at once.
const READ: usize = 16;
/// Sums that a unit has in registers.
const SUMS: usize = 64;
/// Sums that the planes of a cube share: as many as every card has room for.
const SHARED: usize = 8192;

/// The type of a tensor that is on a card, without gradients.
pub(super) fn here<const D: usize>(tensor: &Tensor<D>) -> Option<DType> {
    let on_card = matches!(tensor.device().as_dispatch(), DispatchDevice::Cube(_));
    let dtype = tensor.dtype();
    (on_card && !tensor.is_autodiff() && matches!(dtype, DType::F32 | DType::F16 | DType::BF16)).then_some(dtype)
}

pub(super) fn rows_product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rows_product(x.into_dispatch(), weight.into_dispatch()))
}

pub(super) fn attend_one(
    q: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    seen: Range<usize>,
    Scores { scale, softcap }: Scores,
) -> Tensor<4> {
    let [q, keys, values] = [q, keys, values].map(Tensor::into_dispatch);
    let cap = softcap.unwrap_or_default() as f32;
    Tensor::from_dispatch(Dispatch::attend_one(q, keys, values, seen.start, seen.end, scale as f32, cap))
}

pub(super) fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps as f32))
}

pub(super) fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [x, cos, sin] = [x, cos, sin].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::rotate(x, cos, sin))
}

pub(super) fn silu_gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::silu_gated(gate.into_dispatch(), up.into_dispatch()))
}

/// A tensor of the same shape and type, not written yet.
fn like(x: &CubeTensor) -> CubeTensor {
    empty_device_dtype(x.client.clone(), x.device.clone(), x.meta.shape().clone(), x.dtype)
}

/// A unit for each value.
fn each(x: &CubeTensor) -> (CubeCount, CubeDim) {
    const UNITS: u32 = 256;
    let cubes = x.meta.shape().num_elements().div_ceil(UNITS as usize) as u32;
    (CubeCount::Static(cubes, 1, 1), CubeDim::new_1d(UNITS))
}

/// What [`card`](super) has, on a backend.
#[backend_extension(Cube, Fusion)]
trait Steps: Backend {
    #[fusion(dtype = x, shape = { let mut shape = x.clone(); shape[1] = weight[0]; shape })]
    fn rows_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(dtype = x, shape = x)]
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;

    #[fusion(dtype = x, shape = x)]
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;

    #[fusion(dtype = gate, shape = gate)]
    fn silu_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// A cap of 0 is none.
    #[fusion(dtype = q, shape = q)]
    fn attend_one(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        from: usize,
        to: usize,
        scale: f32,
        cap: f32,
    ) -> FloatTensor<Self>;
}

impl Steps for CubeBackend {
    fn rows_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, weight) = (into_contiguous(x), into_contiguous(weight));
        let ([n, inputs], outputs) = ([x.meta.shape()[0], x.meta.shape()[1]], weight.meta.shape()[0]);
        let mut shape = x.meta.shape().clone();
        shape[1] = outputs;
        let y = empty_device_dtype(x.client.clone(), x.device.clone(), shape, x.dtype);
        // Of several rows a plane reads the inputs once for two outputs: otherwise these, from a cache, take longer than the weights.
        let together = if n > 2 { 2 } else { 1 };
        let mut width = READ / x.dtype.size();
        while inputs % width != 0 || n * together * width > SUMS {
            width /= 2;
        }
        let (client, dtype) = (x.client.clone(), dtype_to_storage_type(x.dtype));
        let cubes = outputs.div_ceil(together * PLANES as usize) as u32;
        rows::launch(
            &client,
            CubeCount::Static(cubes, 1, 1),
            CubeDim::new_2d(client.properties().hardware.plane_size_max, PLANES),
            width,
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            n,
            together,
            dtype,
        );
        y
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let (x, weight) = (into_contiguous(x), into_contiguous(weight));
        let (width, y) = (weight.meta.shape()[0], like(&x));
        let (client, dtype) = (x.client.clone(), dtype_to_storage_type(x.dtype));
        let rows = x.meta.shape().num_elements() / width;
        norm::launch(
            &client,
            CubeCount::Static(rows as u32, 1, 1),
            CubeDim::new_2d(client.properties().hardware.plane_size_max, PLANES),
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            eps,
            width,
            PLANES as usize,
            dtype,
        );
        y
    }

    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, cos, sin) = (into_contiguous(x), into_contiguous(cos), into_contiguous(sin));
        let (width, half, y) = (x.meta.shape()[3], cos.meta.shape()[3], like(&x));
        let (client, dtype) = (x.client.clone(), dtype_to_storage_type(x.dtype));
        let (count, units) = each(&x);
        turn::launch(
            &client,
            count,
            units,
            x.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            width,
            half,
            dtype,
        );
        y
    }

    fn silu_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (into_contiguous(gate), into_contiguous(up));
        let (client, dtype, y) = (gate.client.clone(), dtype_to_storage_type(gate.dtype), like(&gate));
        let (count, units) = each(&gate);
        let y_ = y.clone().into_tensor_arg();
        gated::launch(&client, count, units, gate.into_tensor_arg(), up.into_tensor_arg(), y_, dtype);
        y
    }

    fn attend_one(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        from: usize,
        to: usize,
        scale: f32,
        cap: f32,
    ) -> FloatTensor<Self> {
        let (q, keys, values) = (into_contiguous(q), into_contiguous(keys), into_contiguous(values));
        let [heads, width] = [q.meta.shape()[2], q.meta.shape()[3]];
        let (client, dtype, y) = (q.client.clone(), dtype_to_storage_type(q.dtype), like(&q));
        let lanes = client.properties().hardware.plane_size_max;
        let planes = (UNITS / lanes).min(32).min((SHARED / width).max(1) as u32);
        attend::launch(
            &client,
            CubeCount::Static(heads as u32, 1, 1),
            CubeDim::new_2d(lanes, planes),
            q.into_tensor_arg(),
            keys.into_tensor_arg(),
            values.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            from as u32,
            to as u32,
            scale,
            cap,
            cap > 0.0,
            width,
            lanes as usize,
            planes as usize,
            dtype,
        );
        y
    }
}
