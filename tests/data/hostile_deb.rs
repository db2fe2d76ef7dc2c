//! Debian packages that are not as they should be. The hash protects the built-in recipes; these have the right hash.

use crate::gzip;
use crate::sound::{Case, deb, oracle, tar, xz};

/// The error with this package.
fn error(package: &[u8]) -> String {
    let error = Case::recordings([package, b""]).error();
    assert!(error.contains("calls-en=1.0-1") || error.contains("calls-es=1.0-1"), "{error}");
    error
}

fn fine() -> Vec<u8> {
    tar(&[("./usr/sounds/x_en/a.g722", &oracle("codes.g722"))])
}

#[test]
fn packages_that_break_off_or_are_none() {
    let whole = deb("data.tar.xz", &xz(&fine()));
    // The first package is fine: the second, which is empty, is the error.
    assert!(error(&whole).contains("calls-es=1.0-1: the archive"));
    for length in [0, 7, 8, 30, 68, 72, 140, 195, whole.len() / 2, whole.len() - 40] {
        let error = error(&whole[..length]);
        assert!(
            error.contains("calls-en=1.0-1: the archive") || error.contains("calls-en=1.0-1: data.tar.xz"),
            "{error}"
        );
    }
    assert!(error(b"no archive at all").contains("no Debian package"));
    let mut broken = whole.clone();
    broken[66] = b'x';
    assert!(error(&broken).contains("broken header"));
    let mut broken = whole.clone();
    broken[56..66].copy_from_slice(b"-1        ");
    assert!(error(&broken).contains("without a size"));
    let mut broken = whole.clone();
    broken[56..66].copy_from_slice(b"9999999999");
    assert!(error(&broken).contains("ends before data.tar"));
    assert!(error(&deb("data.tar.lzma", b"")).contains("data.tar.lzma"));
    assert!(error(&deb("other", b"")).contains("ends before data.tar"));
    for member in ["data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst"] {
        assert!(error(&deb(member, &[7; 2000])).contains(member), "{member}");
    }
}

#[test]
fn every_compression_is_read() {
    let whole = fine();
    for (member, content) in [("data.tar", whole.clone()), ("data.tar.gz", gzip(&whole)), ("data.tar.xz", xz(&whole))] {
        let package = deb(member, &content);
        let es = deb("data.tar", &tar(&[("./usr/sounds/x_es/a.g722", b"abc")]));
        Case::recordings([&package, &es]).fetch().unwrap();
    }
}

#[test]
fn bombs_are_refused() {
    let zeros = tar(&[("./usr/sounds/x_en/a.g722", &vec![0; 80 << 20])]);
    let zst = ruzstd::encoding::compress_to_vec(&zeros[..], ruzstd::encoding::CompressionLevel::Fastest);
    for (member, content) in [("data.tar.gz", gzip(&zeros)), ("data.tar.xz", xz(&zeros)), ("data.tar.zst", zst)] {
        let error = error(&deb(member, &content));
        assert!(error.contains("67108864 bytes at most"), "{member}: {error}");
    }
    // A dictionary of 4 GiB, for a small content.
    let mut greedy = xz(&fine());
    let at = 12 + greedy[12..].windows(2).position(|two| two == [0x21, 1]).unwrap() + 2;
    greedy[at] = 40;
    let end = 12 + 4 * usize::from(greedy[12]);
    let mut crc = flate2::Crc::new();
    crc.update(&greedy[12..end]);
    greedy[end..end + 4].copy_from_slice(&crc.sum().to_le_bytes());
    let error = error(&deb("data.tar.xz", &greedy));
    assert!(error.contains("memory") && error.contains("data.tar.xz"), "{error}");
}

#[test]
fn paths_that_leave_and_packages_without_recordings() {
    for name in
        ["./../evil.g722", "/usr/sounds/x_en/a.g722", "./usr/sounds/x_en/../../a.g722", "./usr/sounds/x_en\\a.g722"]
    {
        assert!(error(&deb("data.tar", &tar(&[(name, b"abc")]))).contains("leaves the package"), "{name}");
    }
    for name in ["./usr/sounds/x_en/silence/1.g722", "./usr/sounds/x_en/a.gsm", "./usr/sounds/x_en/.g722", "./a.g722"] {
        let error = error(&deb("data.tar", &tar(&[(name, b"abc")])));
        assert!(error.contains("usr/sounds/x_en: no file in it ends with .g722"), "{name}: {error}");
    }
    let twice = tar(&[("./usr/sounds/x_en/a/b.g722", b"abc"), ("./usr/sounds/x_en/a-b.g722", b"abc")]);
    assert!(error(&deb("data.tar", &twice)).contains("a-b.g722: two prompts have the same name"));
}
