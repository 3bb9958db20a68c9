//! Images, and the tools that judge them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A directory for images.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path, for options.
    pub fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A file of zeroes.
    pub fn raw(&self, name: &str, len: u64) -> String {
        File::create(self.path(name)).unwrap().set_len(len).unwrap();
        self.name(name)
    }

    pub fn text(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.name(name)
    }

    /// Has qemu-img do something; in its words `%` is the directory.
    pub fn img(&self, words: &str) {
        let words = words.split_whitespace().map(|word| word.replace('%', self.0.path().to_str().unwrap()));
        let output = Command::new("qemu-img").args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// What qemu-img reads from a qcow2 image, which must be sound.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        check(&self.path(name));
        self.img(&format!("convert -f qcow2 -O raw %/{name} %/contents"));
        fs::read(self.path("contents")).unwrap()
    }
}

/// Checks that nothing is wrong with an image but that clusters may be lost.
pub fn check(image: &Path) {
    let output = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(image).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
}

/// Whether there are QEMU's tools; tests that need them say so when they are not there.
pub fn has_tools() -> bool {
    let there = Command::new("qemu-img").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: there is no qemu-img (Debian: qemu-utils)");
    }
    there
}
