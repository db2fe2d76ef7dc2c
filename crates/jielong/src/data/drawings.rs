//! From packages to a folder of pictures: `STYLE/ID.png`, and `index.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jielong_image::picture::{Filter, Picture, Reading};
use rayon::prelude::*;
use serde::Deserialize;

use super::icons::{self, Icons};
use super::picture_recipe::{Form, PictureRecipe, Style};
use super::pictures::{Index, IndexEntry};
use super::{DataError, Recipe, base, folder, normal, unpack};
use crate::sources::{NpmPackage, Progress, SourceOptions, npm};

/// Pictures that are made between two looks at the time.
const AT_ONCE: usize = 64;

/// A subject in emojibase.
#[derive(Deserialize)]
struct Named {
    hexcode: String,
    label: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    skins: Vec<Named>,
}

/// How a picture is made.
enum Drawing {
    Svg(String),
    File(Vec<u8>),
}

/// Makes the data set in a folder below `work`, and gives that folder. All packages are fetched before any is opened.
pub(super) fn make(
    recipe: &Recipe,
    pictures: &PictureRecipe,
    work: &Path,
    (options, progress): (&SourceOptions, &dyn Progress),
) -> Result<PathBuf, DataError> {
    let fetch = |(index, package): (usize, &NpmPackage)| {
        let tarball = npm::fetch(package, &work.join(format!("package-{index}")), options, progress)?;
        Ok((package.to_string(), tarball))
    };
    let tarballs = pictures.packages().enumerate().map(fetch).collect::<Result<Vec<_>, DataError>>()?;
    let mut tarballs = tarballs.iter();
    let mut subjects = match tarballs.next() {
        Some((package, tarball)) => names(recipe, pictures, package, tarball)?,
        None => BTreeMap::new(),
    };
    let out = work.join("made");
    for (style, (package, tarball)) in pictures.styles.iter().zip(tarballs) {
        let folder = out.join(&style.name);
        folder::make(&folder)?;
        let mut drawings = drawings(style, package, tarball)?;
        drawings.retain(|id, _| subjects.contains_key(id));
        if drawings.is_empty() {
            let why = "no picture of it has a name".to_owned();
            return Err(DataError::Package { package: package.clone(), member: style.name.clone(), why });
        }
        progress.count(&style.title, drawings.len() as u64);
        let made = draw_all(pictures, package, &drawings, &folder, progress);
        progress.finish();
        made?;
        for id in drawings.keys() {
            subjects.entry(id.clone()).and_modify(|entry| entry.styles.push(style.name.clone()));
        }
    }
    subjects.retain(|_, entry| !entry.styles.is_empty());
    let index = Index {
        name: recipe.name.clone(),
        recipe: recipe.hash.clone(),
        size: pictures.size,
        background: pictures.background,
        styles: pictures.parts(),
        subjects: subjects.into_values().collect(),
    };
    folder::write(&out.join("index.json"), index.to_json().as_bytes())?;
    Ok(out)
}

/// All subjects by id.
fn names(
    recipe: &Recipe,
    pictures: &PictureRecipe,
    package: &str,
    tarball: &Path,
) -> Result<BTreeMap<String, IndexEntry>, DataError> {
    let named: Vec<Named> = json(package, tarball, &pictures.names.member)?;
    let mut subjects = BTreeMap::new();
    for subject in &named {
        for variant in [subject].into_iter().chain(&subject.skins) {
            let Some(id) = normal(&variant.hexcode) else { continue };
            let base = base(&id, &pictures.bases);
            let split = recipe.split(&base);
            let (name, tags) = (variant.label.clone(), subject.tags.clone());
            subjects.insert(id.clone(), IndexEntry { id, base, split, name, tags, styles: Vec::new() });
        }
    }
    Ok(subjects)
}

/// All drawings of a style by id.
fn drawings(style: &Style, package: &str, tarball: &Path) -> Result<BTreeMap<String, Drawing>, DataError> {
    let mut drawings = BTreeMap::new();
    match &style.form {
        Form::Files { folder, ending } => {
            let stem = |path: &str| normal(path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(ending)?);
            for (path, bytes) in unpack::npm(tarball, package, &|path| stem(path).is_some())? {
                drawings.extend(stem(&path).map(|id| (id, Drawing::File(bytes))));
            }
        }
        Form::Iconify { icons, characters } => {
            let set: Icons = json(package, tarball, icons)?;
            let characters: BTreeMap<String, String> = json(package, tarball, characters)?;
            for (code, name) in &characters {
                let Some(id) = normal(code) else { continue };
                let svg = set.svg(name).map_err(|why| DataError::Package {
                    package: package.to_owned(),
                    member: icons.clone(),
                    why,
                })?;
                drawings.insert(id, Drawing::Svg(svg));
            }
        }
    }
    Ok(drawings)
}

/// One JSON file of a package.
fn json<T: serde::de::DeserializeOwned>(package: &str, tarball: &Path, member: &str) -> Result<T, DataError> {
    let found = unpack::npm(tarball, package, &|path| path == member)?.pop();
    let wrong = |why: String| DataError::Package { package: package.to_owned(), member: member.to_owned(), why };
    let (_, bytes) = found.ok_or_else(|| wrong("is not there".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

/// Makes all pictures of a style, on all cores.
fn draw_all(
    recipe: &PictureRecipe,
    package: &str,
    drawings: &BTreeMap<String, Drawing>,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), DataError> {
    let drawings: Vec<_> = drawings.iter().collect();
    let mut done = 0;
    for some in drawings.chunks(AT_ONCE) {
        some.par_iter().try_for_each(|(id, drawing)| {
            let picture = picture(recipe, package, id, drawing)?;
            folder::write(&folder.join(format!("{id}.png")), &picture.to_png()?)
        })?;
        done += some.len() as u64;
        progress.advance(done);
    }
    Ok(())
}

fn picture(recipe: &PictureRecipe, package: &str, id: &str, drawing: &Drawing) -> Result<Picture, DataError> {
    let (size, background) = (recipe.size as usize, recipe.background);
    match drawing {
        Drawing::Svg(svg) => icons::draw(svg, recipe.size, background).map_err(|why| DataError::Package {
            package: package.to_owned(),
            member: id.to_owned(),
            why,
        }),
        Drawing::File(bytes) => {
            let reading = Reading { background, ..Reading::default() };
            let picture = Picture::decode(&format!("{package}: {id}"), bytes, &reading)?;
            Ok(picture.fit(size, size, Filter::Area)?.pad(size, size, background)?)
        }
    }
}
