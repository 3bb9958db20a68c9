//! Where the test kernel and its initramfs are, and what to do when they are not there.

use std::env;
use std::path::{Path, PathBuf};

/// The directory that `resources/test-kernel/build.sh` fills.
fn directory() -> PathBuf {
    match env::var_os("NATOMA_TEST_KERNEL_DIR") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-kernel"),
    }
}

/// The path of one of the built files. `None`, with a notice, if this host has no KVM or the file was not built.
///
/// # Panics
/// The file was not built, and `NATOMA_REQUIRE_TEST_KERNEL=1` says that it must be.
pub fn file(name: &str) -> Option<PathBuf> {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: /dev/kvm does not exist on this host, so nothing can run in natoma");
        return None;
    }
    let path = directory().join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = format!(
        "the test kernel is not built ({} does not exist): run resources/test-kernel/build.sh, which takes about 10 minutes",
        path.display()
    );
    assert!(env::var_os("NATOMA_REQUIRE_TEST_KERNEL").is_none_or(|value| value != "1"), "{missing}");
    eprintln!("SKIPPED: {missing}");
    None
}
