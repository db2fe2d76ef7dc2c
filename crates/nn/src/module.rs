//! The parameters of a module by name: loaded from files, saved to them, made anew.
//!
//! A parameter is called by the fields that lead to it, `encoder.conv_in.weight`, as PyTorch does; a case of an `enum` adds
//! nothing. So a module whose fields are named as in a published checkpoint reads and writes that checkpoint. New parameters
//! are lazy: a module that is loaded, counted or listed never makes its random weights.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor, TensorData};
use jielong_kernels::Rows;
use safetensors::tensor::{Dtype, View};

use crate::load;
use crate::weights::{Weights, WeightsError};

/// Why a module and a file do not go together.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Not the parameters of this module.
    #[error("the weights do not fit the config:\n  {}", problems.join("\n  "))]
    Mismatch {
        /// Everything that is missing, too much or of another shape, a line each.
        problems: Vec<String>,
    },
    /// A tensor cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Compute(String),
}

/// A parameter that `new` makes on its device, unless a stored one takes its place.
pub fn lazy<const D: usize>(
    shape: [usize; D],
    device: &Device,
    new: impl FnOnce(&Device) -> Tensor<D> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let tracked = |device: &Device, require_grad| new(device).set_require_grad(require_grad);
    Param::uninitialized(ParamId::new(), tracked, device.clone(), true, shape.into())
}

/// A parameter of values between `-bound` and `bound`, all equally likely.
pub fn uniform<const D: usize>(shape: [usize; D], bound: f64, device: &Device) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| Tensor::random(shape, Distribution::Uniform(-bound, bound), device))
}

/// A parameter of equal values.
pub fn constant<const D: usize>(shape: [usize; D], value: f64, device: &Device) -> Param<Tensor<D>> {
    lazy(shape, device, move |device| Tensor::full(shape, value, device))
}

/// The module with all its new weights made, in the order of its fields: now, so that nothing else draws random numbers of the
/// device between them.
#[must_use]
pub fn made<M: Module>(module: M) -> M {
    struct Make;
    impl ModuleVisitor for Make {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let _ = param.val();
        }
    }
    module.visit(&mut Make);
    module
}

/// Names and shapes of all parameters.
pub fn parameters<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut list = List::default();
    module.visit(&mut list);
    list.shapes
}

/// The module with the weights of a file. Names that `unused` knows may be in the file besides.
///
/// # Errors
/// As [`load_as`].
pub fn load<M: Module>(module: M, weights: &Weights, unused: impl Fn(&str) -> bool) -> Result<M, ModuleError> {
    load_as(module, weights, str::to_owned, unused)
}

/// As [`load`](load()), from a file that calls the parameters by other names, those that `stored` gives. Where it keeps a parameter
/// `w` as `w_g` and `w_v`, a length and a direction (Salimans & Kingma 2016, *Weight normalization*, over all dimensions but
/// the first), it becomes one.
///
/// # Errors
/// [`ModuleError::Mismatch`] with all that is wrong, before anything is read; [`ModuleError::Weights`].
pub fn load_as<M: Module>(
    module: M,
    weights: &Weights,
    stored: impl Fn(&str) -> String,
    unused: impl Fn(&str) -> bool,
) -> Result<M, ModuleError> {
    let parameters = parameters(&module);
    let mut problems = Vec::new();
    let mut places = BTreeMap::new();
    let mut used = HashSet::new();
    let mut check = |name: &str, shape: &[usize]| match weights.get(name) {
        None => problems.push(format!("`{name}` {shape:?} is missing")),
        Some(view) if view.shape() != shape => {
            problems.push(format!("`{name}` is {:?}, expected {shape:?}", view.shape()));
        }
        Some(view) => problems.extend(view.weights().err().map(|error| error.to_string())),
    };
    for (name, shape) in &parameters {
        let at = stored(name);
        let [length, direction] = [format!("{at}_g"), format!("{at}_v")];
        let place = if weights.get(&at).is_none() && weights.get(&direction).is_some() {
            let lengths: Vec<usize> = shape.iter().enumerate().map(|(dim, &n)| if dim == 0 { n } else { 1 }).collect();
            check(&length, &lengths);
            check(&direction, shape);
            used.extend([length.clone(), direction.clone()]);
            Place::Normalized { length, direction }
        } else {
            check(&at, shape);
            used.insert(at.clone());
            Place::Whole(at)
        };
        places.insert(name.clone(), place);
    }
    let extra = weights.names().filter(|name| !used.contains(*name) && !unused(name));
    problems.extend(extra.map(|name| format!("`{name}` is not part of a model with this config")));
    if !problems.is_empty() {
        return Err(ModuleError::Mismatch { problems });
    }
    let mut loader = Loader { names: Names::default(), weights, places, error: None };
    let module = module.map(&mut loader);
    loader.error.map_or(Ok(module), |error| Err(error.into()))
}

/// Where a file keeps a parameter.
enum Place {
    Whole(String),
    Normalized { length: String, direction: String },
}

/// A parameter with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The fields that lead to it.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// All parameters.
///
/// # Errors
/// [`ModuleError::Compute`].
pub fn values<M: Module>(module: &M) -> Result<Vec<Parameter>, ModuleError> {
    let mut values = Values::default();
    module.visit(&mut values);
    let plain =
        |(name, Stored { shape, data, .. }): (String, Stored)| Parameter { name, shape, values: data.iter().collect() };
    Ok(values.tensors?.into_iter().map(plain).collect())
}

/// Writes all parameters as f32 to a safetensors file: to a new file, which then takes the place of the old one.
///
/// # Errors
/// [`ModuleError::Write`] and [`ModuleError::Compute`]; the old file is then as it was.
pub fn save<M: Module>(module: &M, path: &Path) -> Result<(), ModuleError> {
    let mut values = Values::default();
    module.visit(&mut values);
    write(values.tensors?, path)
}

/// Writes all parameters as f16: for use, not for training on. Half the size of [`save`].
///
/// # Errors
/// As [`save`].
pub fn save_f16<M: Module>(module: &M, path: &Path) -> Result<(), ModuleError> {
    let mut values = Values::default();
    module.visit(&mut values);
    let mut tensors = values.tensors?;
    for (_, Stored { dtype, data, .. }) in &mut tensors {
        *dtype = Dtype::F16;
        *data = std::mem::replace(data, TensorData::new(Vec::<f32>::new(), [0])).convert_dtype(DType::F16);
    }
    write(tensors, path)
}

/// Writes tensors to a new file, which then takes the place of the old one.
pub(crate) fn write(tensors: Vec<(String, Stored)>, path: &Path) -> Result<(), ModuleError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.partial"));
    let write = || -> io::Result<()> {
        let about = HashMap::from([("format".to_string(), "pt".to_string())]);
        safetensors::serialize_to_file(tensors, Some(about), &partial).map_err(io::Error::other)?;
        File::open(&partial)?.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| {
        // Whether it is there or not: it is of no use.
        let _ = std::fs::remove_file(&partial);
        ModuleError::Write { path: path.to_path_buf(), source }
    })
}

/// Where in a module a traversal is.
#[derive(Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.into());
        }
    }

    pub(crate) fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    pub(crate) fn path(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct List {
    names: Names,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.shapes.insert(self.names.path(), param.lazy_shape().to_vec());
    }
}

struct Loader<'a> {
    names: Names,
    weights: &'a Weights,
    places: BTreeMap<String, Place>,
    error: Option<WeightsError>,
}

impl Loader<'_> {
    /// The value of a parameter, if the file has it.
    fn value<const D: usize>(&self, name: &str, device: &Device) -> Option<Result<Tensor<D>, WeightsError>> {
        let read = |name: &str| self.weights.get(name);
        match self.places.get(name)? {
            Place::Whole(at) => {
                let view = read(at)?;
                Some(load::tensor(view, 0..view.shape()[0], Rows::AsStored, device, FloatDType::F32))
            }
            Place::Normalized { length, direction } => {
                let (length, direction) = (read(length)?, read(direction)?);
                let (Ok(lengths), Ok(mut values)) = (length.to_f32(), direction.to_f32()) else {
                    return Some(Err(length.to_f32().and(direction.to_f32()).err()?));
                };
                let row = (values.len() / lengths.len().max(1)).max(1);
                for (row, length) in values.chunks_exact_mut(row).zip(lengths) {
                    let norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
                    row.iter_mut().for_each(|v| *v *= length / norm);
                }
                Some(Ok(Tensor::from_data(TensorData::new(values, direction.shape().to_vec()), device)))
            }
        }
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        let device = param.lazy_device();
        match self.value(&self.names.path(), &device) {
            None => param,
            Some(Ok(tensor)) => {
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Some(Err(error)) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// The values of a module, or why they cannot be had.
struct Values {
    names: Names,
    tensors: Result<Vec<(String, Stored)>, ModuleError>,
}

impl Default for Values {
    fn default() -> Self {
        Self { names: Names::default(), tensors: Ok(Vec::new()) }
    }
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.names.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Ok(tensors) = &mut self.tensors {
            match Stored::read(param.val()) {
                Ok(stored) => tensors.push((self.names.path(), stored)),
                Err(error) => self.tensors = Err(error),
            }
        }
    }
}

/// A tensor's values.
pub(crate) struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    data: TensorData,
}

impl Stored {
    /// Values of this shape, which are f32.
    pub(crate) fn new(shape: Vec<usize>, data: TensorData) -> Self {
        Self { dtype: Dtype::F32, shape, data }
    }

    pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Self, ModuleError> {
        let shape = tensor.dims().to_vec();
        let data = tensor.try_into_data_as::<f32>().map_err(|error| ModuleError::Compute(error.to_string()))?;
        Ok(Self::new(shape, data))
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.data.as_bytes().into()
    }

    fn data_len(&self) -> usize {
        self.data.as_bytes().len()
    }
}
