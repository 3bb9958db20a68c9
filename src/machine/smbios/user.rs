//! What the user adds to the SMBIOS tables (`-smbios`) from files of the host.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{SmbiosConfig, SmbiosText};

/// Longest file. A 32-bit entry point leads to 64 KiB.
const MOST: u64 = 1 << 20;
/// Most texts in a structure: they are counted by a byte.
const MOST_TEXTS: usize = 255;
/// Most structures of a type: what there are handles for.
const MOST_STRUCTURES: usize = 0x500;
/// Length of a structure's header.
const HEADER: usize = 4;

/// Why what the user adds can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A file can't be read.
    #[error("can't read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than a mebibyte.
    #[error("{} is longer than {} KiB", .0.display(), MOST >> 10)]
    TooLong(PathBuf),
    /// Not SMBIOS structures.
    #[error(
        "{} is no SMBIOS structure from byte {at} on: each has a header that says how long it is, then texts, of which the \
         last ends with two zero bytes",
        .path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Offset of the structure.
        at: usize,
    },
    /// Fields and a file for the same structure.
    #[error("{} holds a structure of type {kind}, whose fields are given too: leave one of the two out", .path.display())]
    FieldsToo {
        /// The file.
        path: PathBuf,
        /// Type of the structure.
        kind: u8,
    },
    /// Not a text.
    #[error("{} contains a zero byte, which ends a text", .0.display())]
    Zero(PathBuf),
    /// A text that says nothing, which is what the end of all texts looks like.
    #[error("a text of type 11 is empty, which no text can be: leave it out")]
    EmptyText,
    /// Too many structures.
    #[error("there are {0} structures of a type for which {MOST_STRUCTURES} have room")]
    TooManyStructures(usize),
    /// Too many texts.
    #[error("there are {0} texts of type 11, and a structure holds {MOST_TEXTS}")]
    TooManyTexts(usize),
}

/// What files contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFiles {
    /// Structures, each with its texts.
    pub structures: Vec<Vec<u8>>,
    /// The texts of type 11.
    pub texts: Vec<Vec<u8>>,
}

impl UserFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// A file can't be read, or does not contain what it should.
    pub fn load(config: &SmbiosConfig) -> Result<Self, UserError> {
        let mut structures = Vec::new();
        for path in &config.files {
            let mut rest = &read(path)?[..];
            let length = rest.len();
            while !rest.is_empty() {
                let at = length - rest.len();
                let (structure, behind) = split(rest).ok_or_else(|| UserError::Malformed { path: path.clone(), at })?;
                if has_fields(config, structure[0]) {
                    return Err(UserError::FieldsToo { path: path.clone(), kind: structure[0] });
                }
                structures.push(structure.to_vec());
                rest = behind;
            }
        }
        let text = |text: &SmbiosText| match text {
            SmbiosText::Value(text) => Ok(text.clone().into_bytes()),
            SmbiosText::File(path) => {
                let text = read(path)?;
                if text.contains(&0) { Err(UserError::Zero(path.clone())) } else { Ok(text) }
            }
        };
        let texts: Vec<_> = config.oem_strings.iter().map(text).collect::<Result<_, _>>()?;
        if texts.len() > MOST_TEXTS {
            return Err(UserError::TooManyTexts(texts.len()));
        }
        if texts.iter().any(Vec::is_empty) {
            return Err(UserError::EmptyText);
        }
        if let Some(many) = [config.ports.len(), config.onboard.len()].into_iter().find(|many| *many > MOST_STRUCTURES)
        {
            return Err(UserError::TooManyStructures(many));
        }
        Ok(Self { structures, texts })
    }

    /// Whether there is a structure of this type, which takes the place of the machine's own.
    #[must_use]
    pub fn replaces(&self, kind: u8) -> bool {
        self.structures.iter().any(|structure| structure[0] == kind)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, UserError> {
    let error = |source| UserError::Read { path: path.to_owned(), source };
    let mut contents = Vec::new();
    File::open(path).map_err(error)?.take(MOST + 1).read_to_end(&mut contents).map_err(error)?;
    if contents.len() as u64 > MOST { Err(UserError::TooLong(path.to_owned())) } else { Ok(contents) }
}

/// The first structure with its texts, and what is behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let formatted = usize::from(*bytes.get(1)?);
    if formatted < HEADER {
        return None;
    }
    let texts = bytes.get(formatted..)?.windows(2).position(|pair| pair == [0, 0])?;
    bytes.split_at_checked(formatted + texts + 2)
}

/// Whether the user gives fields of the structures of this type.
fn has_fields(config: &SmbiosConfig, kind: u8) -> bool {
    let SmbiosConfig { files: _, bios, system, board, chassis, processor, ports, oem_strings, memory, onboard } =
        config;
    match kind {
        0 => bios.is_some(),
        1 => *system != Default::default(),
        2 => board.is_some(),
        3 => *chassis != Default::default(),
        4 => *processor != Default::default(),
        8 => !ports.is_empty(),
        11 => !oem_strings.is_empty(),
        17 => *memory != Default::default(),
        41 => !onboard.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::SmbiosSystem;
    use crate::machine::testing::Scratch;

    fn load(contents: &[u8], change: impl FnOnce(&mut SmbiosConfig)) -> Result<UserFiles, UserError> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let scratch = Scratch::new(&format!("smbios-{number}"));
        let path = scratch.path("file");
        fs::write(&path, contents).unwrap();
        let mut config = SmbiosConfig { files: vec![path], ..SmbiosConfig::default() };
        change(&mut config);
        UserFiles::load(&config)
    }

    #[test]
    fn takes_a_file_apart() {
        let files = load(b"\x55\x06\x34\x12\x01\x02one\0two\0\0\x80\x04\0\0\0\0", |_| ()).unwrap();
        assert_eq!(files.structures, [&b"\x55\x06\x34\x12\x01\x02one\0two\0\0"[..], b"\x80\x04\0\0\0\0"]);
        assert!(files.replaces(0x55) && files.replaces(0x80) && !files.replaces(0));
        assert_eq!(load(b"", |_| ()).unwrap(), UserFiles::default());
    }

    #[test]
    fn refuses_what_are_no_structures() {
        let cases: [&[u8]; 7] = [
            b"\x01",
            b"\x01\x03\0\0\0\0",
            b"\x01\x1b\0\0\0\0",
            b"\x01\x04\0\0\0",
            b"\x01\x04\0\0one\0",
            b"\x01\xff\0\0\0\0\0",
            b"\x01\x00\0\0",
        ];
        for bytes in cases {
            assert!(matches!(load(bytes, |_| ()), Err(UserError::Malformed { at: 0, .. })), "{bytes:x?}");
        }
        assert!(matches!(load(b"\x80\x04\0\0\0\0\x80", |_| ()), Err(UserError::Malformed { at: 6, .. })));
        assert!(matches!(load(&[0; MOST as usize + 1], |_| ()), Err(UserError::TooLong(_))));
    }

    /// As QEMU: fields of the same structure would be lost.
    #[test]
    fn refuses_fields_of_a_structure_that_comes_from_a_file() {
        let system = |config: &mut SmbiosConfig| {
            config.system = SmbiosSystem { serial: Some("1".into()), ..SmbiosSystem::default() };
        };
        let error = load(b"\x01\x04\0\0\0\0", system).unwrap_err();
        assert!(matches!(error, UserError::FieldsToo { kind: 1, .. }), "{error}");
        load(b"\x02\x04\0\0\0\0", system).unwrap();
    }

    #[test]
    fn texts_come_from_files_too() {
        let with = |contents: &[u8]| {
            load(contents, |config| {
                let path = config.files.pop().unwrap();
                config.oem_strings = vec![SmbiosText::Value("a".into()), SmbiosText::File(path)];
            })
        };
        assert_eq!(with(b"b\xff\n").unwrap().texts, [&b"a"[..], b"b\xff\n"]);
        assert!(matches!(with(b"b\0"), Err(UserError::Zero(_))));
        assert!(matches!(with(b""), Err(UserError::EmptyText)), "its end would be that of all texts");
        let many = |config: &mut SmbiosConfig| config.oem_strings = vec![SmbiosText::Value(String::new()); 256];
        assert!(matches!(load(b"", many), Err(UserError::TooManyTexts(256))));
    }
}
