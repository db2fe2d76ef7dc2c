//! Only files are mapped.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use jielong_kernels::MappedFile;

#[test]
fn a_file_is_mapped_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let file = MappedFile::open(&path).unwrap();
    assert_eq!(file.as_ref(), std::fs::read(&path).unwrap());
    assert_eq!(file.path(), path);
    assert!(MappedFile::open(path.parent().unwrap()).unwrap_err().to_string().contains("not a file"));
    assert_eq!(MappedFile::open(&path.join("x")).unwrap_err().kind(), std::io::ErrorKind::NotADirectory);
    #[cfg(unix)]
    assert!(MappedFile::open(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a file"));
}
