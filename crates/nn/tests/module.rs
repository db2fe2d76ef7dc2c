//! Parameters by name: listed without being made, loaded, saved; what does not fit is named at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use jielong_nn::module::{constant, lazy, load, parameters, save, uniform};
use jielong_nn::weights::Weights;

#[derive(Module, Debug)]
struct Layer {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
enum Kind {
    One(Layer),
    Other(Layer),
}

#[derive(Module, Debug)]
struct Model {
    pair: (Layer, Layer),
    kind: Kind,
    list: Vec<Layer>,
    #[module(skip)]
    steps: usize,
}

fn layer(width: usize, bias: bool) -> Layer {
    let device = Device::flex();
    Layer { weight: uniform([2, width], 0.5, &device), bias: bias.then(|| constant([2], 3.0, &device)) }
}

fn model(width: usize) -> Model {
    let pair = (layer(width, true), layer(3, false));
    Model { pair, kind: Kind::Other(layer(1, true)), list: vec![layer(2, false)], steps: 1 }
}

fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
    param.val().into_data().iter().collect()
}

#[test]
fn names_are_paths_of_fields_and_listing_makes_nothing() {
    let device = Device::flex();
    let never = lazy([2, 1 << 40], &device, |_| unreachable!("listed only"));
    let mut model = model(4);
    model.list.push(Layer { weight: never, bias: None });
    let expected: [(&str, &[usize]); 7] = [
        ("kind.bias", &[2]),
        ("kind.weight", &[2, 1]),
        ("list.0.weight", &[2, 2]),
        ("list.1.weight", &[2, 1 << 40]),
        ("pair.0.bias", &[2]),
        ("pair.0.weight", &[2, 4]),
        ("pair.1.weight", &[2, 3]),
    ];
    let found = parameters(&model);
    assert_eq!(found.iter().map(|(name, shape)| (&name[..], &shape[..])).collect::<Vec<_>>(), expected);
    assert_eq!(model.num_params(), 2 + 2 + 4 + (2 << 40) + 2 + 8 + 6);
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let saved = model(4);
    for _ in 0..2 {
        save(&saved, &path).unwrap(); // the second takes the place of the first
    }
    let weights = Weights::open(&path).unwrap();
    let loaded = load(model(4), &weights, |_| false).unwrap();
    assert_eq!(values(&loaded.pair.0.weight), values(&saved.pair.0.weight));
    assert_ne!(values(&loaded.pair.0.weight), values(&model(4).pair.0.weight));
    assert_eq!(values(loaded.pair.0.bias.as_ref().unwrap()), [3.0; 2]);
    let (Kind::One(kind) | Kind::Other(kind)) = &loaded.kind;
    let (Kind::One(expected) | Kind::Other(expected)) = &saved.kind;
    assert_eq!(values(&kind.weight), values(&expected.weight));
    assert!(values(&saved.pair.1.weight).iter().all(|v| v.abs() <= 0.5));
    assert_eq!((std::fs::read_dir(folder.path()).unwrap().count(), loaded.steps), (1, 1));
}

#[test]
fn all_that_does_not_fit_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&model(4), &path).unwrap();
    let weights = Weights::open(&path).unwrap();
    let mut other = model(5);
    other.pair.1.bias = Some(constant([2], 0.0, &Device::flex()));
    other.list.clear();
    let error = load(other, &weights, |_| false).unwrap_err().to_string();
    for part in [
        "`pair.0.weight` is [2, 4], expected [2, 5]",
        "`pair.1.bias` [2] is missing",
        "`list.0.weight` is not part of a model with this config",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let mut fewer = model(4);
    fewer.list.clear();
    assert!(load(fewer, &weights, |name| name.starts_with("list.")).is_ok());
    // Nothing of a file that cannot be written stays.
    let taken = folder.path().join("folder");
    std::fs::create_dir_all(taken.join("full")).unwrap();
    assert!(save(&model(4), &taken).unwrap_err().to_string().contains("folder"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
