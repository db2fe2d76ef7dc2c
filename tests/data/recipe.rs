//! Recipes, bases, halves.

use std::collections::BTreeSet;

use jielong::data::{self, Bases, Content, Recipe, Split, base, normal, split};
use proptest::prelude::*;

use crate::{Case, Packages};

fn emoji() -> Bases {
    match data::recipe("emoji").unwrap().content {
        Content::Pictures(pictures) => pictures.bases,
        _ => panic!("emoji are pictures"),
    }
}

#[test]
fn the_built_in_recipes_are_sound() {
    for recipe in data::recipes().unwrap() {
        assert!(recipe.held_out >= 0.1 && !recipe.description.is_empty());
        let parts = recipe.parts();
        assert!(!parts.is_empty());
        for part in &parts {
            assert!(!part.license.is_empty() && !part.attribution.is_empty() && !part.title.is_empty());
        }
        let Content::Pictures(pictures) = recipe.content else { continue };
        let bases = &pictures.bases;
        // A base is its own base, so that no two names of the same thing are left.
        let targets = bases.parts.values().chain(bases.wholes.values());
        for target in targets {
            assert_eq!(&base(target, bases), target);
            assert_eq!(normal(target).as_ref(), Some(target));
        }
        let sources = bases.parts.keys().chain(bases.wholes.keys());
        for source in sources.chain(&bases.modifiers).chain(&bases.joined) {
            assert_eq!(normal(source).as_ref(), Some(source));
        }
    }
}

#[test]
fn errors_name_the_file_and_the_key() {
    let text = Case::new(&Packages::new()).text;
    let hash = text.split("sha256 = \"").nth(2).unwrap().split('"').next().unwrap().to_owned();
    for (from, to, expected) in [
        ("size = 16", "size = 0", "`size`"),
        ("size = 16", "size = 5000", "`size`"),
        ("size = 16", "size = \"16\"", "size"),
        ("size = 16\n", "", "size"),
        ("held_out = 0.125", "held_out = 0.9", "`held_out`"),
        ("name = \"tiny\"", "name = \"../tiny\"", "`name`"),
        ("name = \"drawn\"", "name = \"a/b\"", "`style.0.name`"),
        ("name = \"drawn\"", "name = \"files\"", "`style.1.name`"),
        ("name = \"@s/drawn\"", "name = \"--x\"", "`style.0.package.name`"),
        ("name = \"@s/drawn\"", "name = \"a b\"", "`style.0.package.name`"),
        ("version = \"1.0.0\"", "version = \"latest\"", "`names.package.version`"),
        ("license = \"MIT\"", "licence = \"MIT\"", "licence"),
        ("iconify", "svg", "svg"),
        (hash.as_str(), "abc", "`style.0.package.sha256`"),
    ] {
        let error = Recipe::parse(&text.replacen(from, to, 1), "a/x.toml").unwrap_err().to_string();
        assert!(error.starts_with("a/x.toml:") && error.contains(expected), "{to}: {error}");
    }
    let missing = Recipe::open("/no/such/x.toml".as_ref()).unwrap_err().to_string();
    assert!(missing.contains("/no/such/x.toml"), "{missing}");
}

#[test]
fn variants_share_a_base() {
    let bases = emoji();
    for (base_id, variants) in [
        ("1f44b", &["1f44b", "1f44b-1f3fb", "1f44b-1f3ff"][..]),
        ("1f9d1", &["1f468", "1f469-1f3fd", "1f469-1f3fd-200d-1f9b0", "1f9d1-200d-1f9b2"]),
        ("1f9d1-200d-1f52c", &["1f9d1-200d-1f52c", "1f468-1f3fe-200d-1f52c", "1f469-200d-1f52c"]),
        ("1f3c3", &["1f3c3", "1f3c3-1f3fb-200d-2640", "1f3c3-200d-2642-200d-27a1", "1f3c3-1f3fc-200d-27a1"]),
        ("1faf1-200d-1faf2", &["1f91d", "1f91d-1f3fb", "1faf1-1f3fb-200d-1faf2-1f3ff"]),
        ("1f9d1-200d-1f91d-200d-1f9d1", &["1f46b-1f3fb", "1f46c", "1f469-1f3fb-200d-1f91d-200d-1f468-1f3ff"]),
        ("1f3fb", &["1f3fb"]),
        ("2640", &["2640"]),
        ("1f1e8-1f1ed", &["1f1e8-1f1ed"]),
    ] {
        for variant in variants {
            assert_eq!(base(variant, &bases), base_id, "{variant}");
        }
    }
}

#[test]
fn codes_have_one_spelling() {
    for (code, expected) in [
        ("0023-FE0F-20E3", Some("23-20e3")),
        ("1f3f4_e0067", Some("1f3f4-e0067")),
        ("2764-fe0f", Some("2764")),
        ("A9", Some("a9")),
        ("fe0f", None),
        ("", None),
        ("1f600-", None),
        ("../1f600", None),
        ("readme", None),
        ("+1f600", None),
        ("1234567", None),
    ] {
        assert_eq!(normal(code).as_deref(), expected, "{code}");
    }
}

proptest! {
    #[test]
    fn a_subject_and_its_variants_are_in_one_half(point in 0x1f300u32..0x1faff, tone in 0x1f3fbu32..0x1f400, sign in 0usize..7) {
        let bases = emoji();
        let sign = bases.joined.iter().nth(sign).unwrap();
        let variants = [
            format!("{point:x}"),
            format!("{point:x}-{tone:x}"),
            format!("{point:x}-{tone:x}-200d-{sign}"),
            format!("{point:x}-200d-{sign}"),
        ];
        let found: BTreeSet<_> = variants.iter().map(|id| base(id, &bases)).collect();
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        let id = found.first().unwrap();
        prop_assert_eq!(&base(id, &bases), id);
        prop_assert_eq!(split(id, 0.125), split(id, 0.125));
        // A larger share only adds.
        prop_assert!(split(id, 0.125) == Split::Train || split(id, 0.2) == Split::HeldOut);
    }
}

#[test]
fn an_eighth_is_held_out_and_never_another() {
    let ids: Vec<String> = (0..20_000).map(|n| format!("{n:x}")).collect();
    let held = ids.iter().filter(|id| split(id, 0.125) == Split::HeldOut).count();
    assert!((2300..2700).contains(&held), "{held}");
    // What was held out once is held out for ever.
    let known =
        ["1f600", "1f601", "1f602", "1f603", "1f604", "1f605", "1f606", "1f607", "1f608", "1f609", "1f60a", "1f60b"];
    let held: Vec<_> = known.into_iter().filter(|id| split(id, 0.125) == Split::HeldOut).collect();
    assert_eq!(held, ["1f609"]);
    assert!(ids.iter().all(|id| split(id, 0.0) == Split::Train));
}
