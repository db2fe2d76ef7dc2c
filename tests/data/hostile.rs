//! Packages that are not as they should be. The hash protects the built-in recipes; these have the right hash.

use crate::{Case, Packages, gzip, tarball};

/// The error with another package of drawings.
fn drawn(package: Vec<u8>) -> String {
    Case::new(&Packages { drawn: package, ..Packages::new() }).error()
}

/// A tarball with one entry whose name and type are anything.
fn entry(name: &[u8], kind: tar::EntryType, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_entry_type(kind);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend(bytes);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    gzip(&tar)
}

#[test]
fn paths_and_links_out_of_the_package_are_refused() {
    use tar::EntryType as Kind;
    for name in ["../evil", "package/../../evil", "/etc/evil", "package/./../evil", "package\\..\\evil"] {
        let error = drawn(entry(name.as_bytes(), Kind::Regular, b"{}"));
        assert!(error.contains("leaves the package") && error.contains("@s/drawn@1.0.0"), "{name}: {error}");
    }
    for kind in [Kind::Symlink, Kind::Link, Kind::Fifo, Kind::Block, Kind::Char] {
        let error = drawn(entry(b"package/a/icons.json", kind, b""));
        assert!(error.contains("only files are expected"), "{kind:?}: {error}");
    }
}

#[test]
fn bombs_and_broken_archives_are_refused() {
    let zeros = vec![0; 80 << 20];
    for bomb in [
        tarball(&[("package/a/icons.json", &zeros)]),
        tarball(&[("package/other", &zeros), ("package/a/icons.json", b"{}")]),
        entry(b"long", tar::EntryType::GNULongName, &zeros),
    ] {
        let error = drawn(bomb);
        assert!(error.contains("67108864 bytes at most"), "{error}");
    }
    let whole = Packages::new().drawn;
    for length in [0, 5, whole.len() / 2] {
        assert!(drawn(whole[..length].to_vec()).contains("@s/drawn@1.0.0"));
    }
    assert!(drawn(b"not a tarball".to_vec()).contains("the tarball"));
    assert!(drawn(gzip(&[7; 2000])).contains("the tarball"));
}

#[test]
fn content_that_means_nothing_is_named() {
    let with = |icons: &str, characters: &str| {
        drawn(tarball(&[("package/a/icons.json", icons.as_bytes()), ("package/chars.json", characters.as_bytes())]))
    };
    assert!(drawn(tarball(&[("package/chars.json", b"{}")])).contains("a/icons.json: is not there"));
    assert!(with("{}", "{}").contains("icons"));
    assert!(with("{\"icons\": {}}", "[]").contains("chars.json"));
    assert!(with("{\"icons\": {}}", "{}").contains("no picture of it has a name"));
    assert!(with("{\"icons\": {}}", "{\"1f7e5\": \"x\"}").contains("no drawing is called `x`"));
    let circle = "{\"icons\": {}, \"aliases\": {\"x\": {\"parent\": \"y\"}, \"y\": {\"parent\": \"x\"}}}";
    assert!(with(circle, "{\"1f7e5\": \"x\"}").contains("stands for itself"));
    let broken = "{\"icons\": {\"x\": {\"body\": \"<path\"}}}";
    let error = with(broken, "{\"1f7e5\": \"x\"}");
    assert!(error.contains("@s/drawn@1.0.0: 1f7e5:"), "{error}");
    // Codes that would lead elsewhere are no codes.
    assert!(with("{\"icons\": {}}", "{\"../../x\": \"x\"}").contains("no picture of it has a name"));
    let files = tarball(&[("package/pictures/1f7e5.webp", b"no picture")]);
    let error = Case::new(&Packages { files, ..Packages::new() }).error();
    assert!(error.contains("files@1.0.0: 1f7e5") && error.contains("no picture"), "{error}");
}

#[test]
fn a_drawing_reads_no_files() {
    let secret = crate::Case::new(&Packages::new());
    let path = secret.path("secret.png");
    std::fs::write(&path, jielong_image::picture::Picture::filled(8, 8, [1, 2, 3]).unwrap().to_png().unwrap()).unwrap();
    let icons = format!(
        "{{\"width\": 8, \"height\": 8, \"icons\": {{\"x\": {{\"body\": \"<image href='{}' width='8' height='8'/>\"}}}}}}",
        path.display()
    );
    let drawn = tarball(&[("package/a/icons.json", icons.as_bytes()), ("package/chars.json", b"{\"1f7e5\": \"x\"}")]);
    let folder = Case::new(&Packages { drawn, ..Packages::new() });
    let made = folder.fetch().unwrap().join("drawn/1f7e5.png");
    let picture = jielong_image::picture::Picture::open(&made, &Default::default()).unwrap();
    assert!(picture.rgb.iter().all(|&byte| byte == 255));
}
