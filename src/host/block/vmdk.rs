//! vmdk images that are described by a text: parts of other files ("flat" extents) and zeroes, one after the other.
//!
//! imago reads them; they are not written. Images with their data in the file itself ("sparse", which `qemu-img create -f vmdk` makes
//! unless told otherwise) are not read. The text is cleaned before imago sees it, which refuses all lines that it does not know,
//! some of VMware's among them; natoma opens the files itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use devices::backend::block::BlockError;
use imago::format::gate::ImplicitOpenGate;
use imago::io_buffers::IoVectorMut;
use imago::vmdk::Vmdk as Imago;
use imago::{FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use vm_memory::VolatileSlice;

use super::memory::Memory;
use super::node::{Node, check_transfer, read_bytes};
use super::raw::host_error;
use super::storage::NodeStorage;

/// The longest description that is read.
const LONGEST: u64 = 1 << 20;
/// The most parts that an image can have.
const MOST_EXTENTS: usize = 1024;
/// What a file begins with that has its data in itself.
const SPARSE: [&[u8]; 2] = [b"KDMV", b"COWD"];
const SECTOR: u64 = 512;

/// A vmdk image.
pub struct Vmdk {
    image: FormatAccess<NodeStorage>,
    len: u64,
}

impl Vmdk {
    /// The image that `description` describes, whose parts are opened by `open` by their names relative to `directory`.
    ///
    /// # Errors
    /// The image can't be used: says why and what to do.
    pub fn open(
        description: &dyn Node,
        directory: &Path,
        open: impl FnMut(&Path) -> Result<Arc<dyn Node>>,
    ) -> Result<Self> {
        let text = clean(&read(description)?)?;
        let text = NodeStorage::new(Arc::new(Memory::new(text.into_bytes()).read_only()));
        let image = Imago::<NodeStorage>::builder(text.in_directory(Some(directory.to_owned())));
        let mut failure = None;
        let opened = image.open(Opener { open, failure: &mut failure, directory });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let image = FormatAccess::new(opened.context("it can't be read as vmdk")?);
        let len = image.size();
        ensure!(len > 0, "it describes a medium without any sector");
        ensure!(i64::try_from(len).is_ok(), "it describes a medium of {len} bytes: it is damaged");
        Ok(Self { image, len })
    }
}

fn read(description: &dyn Node) -> Result<Vec<u8>> {
    let mut start = [0; 4];
    ensure!(description.len() >= start.len() as u64, "it is too short for a description");
    read_bytes(description, 0, &mut start).context("it can't be read")?;
    if SPARSE.iter().any(|magic| start == *magic) {
        bail!(
            "its data is in the file itself (a sparse extent), which natoma does not read: convert it with 'qemu-img convert -f \
             vmdk -O qcow2'"
        );
    }
    ensure!(description.len() <= LONGEST, "its description has more than {LONGEST} bytes: it is none");
    let mut text = vec![0; usize::try_from(description.len())?];
    read_bytes(description, 0, &mut text).context("it can't be read")?;
    Ok(text)
}

/// The lines of a description that say where the data is.
fn clean(text: &[u8]) -> Result<String> {
    let mut found = String::new();
    let mut extents = 0;
    for line in String::from_utf8_lossy(text).lines().map(str::trim) {
        let word = line.split([' ', '\t', '=']).next().unwrap_or_default();
        match word {
            "RW" | "RDONLY" | "NOACCESS" => {
                extents += 1;
                check_extent(line)?;
            }
            "parentFileNameHint" => {
                bail!(
                    "it is made over another image, which natoma does not read: convert it with 'qemu-img convert -O qcow2'"
                )
            }
            "version" | "CID" | "parentCID" | "createType" => {}
            _ => continue,
        }
        found.push_str(line);
        found.push('\n');
    }
    ensure!(extents > 0, "it does not say where its data is: it is damaged");
    ensure!(extents <= MOST_EXTENTS, "it is in {extents} parts, and {MOST_EXTENTS} is the most");
    Ok(found)
}

/// Tells what natoma can't do by name.
fn check_extent(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let (access, sectors, kind) = (words.next(), words.next(), words.next());
    let sectors: u64 =
        sectors.unwrap_or_default().parse().with_context(|| format!("it can't be understood: {line}"))?;
    ensure!(sectors.checked_mul(SECTOR).is_some(), "it has too many sectors: {line}");
    match kind {
        Some("FLAT" | "ZERO") => Ok(()),
        _ if access == Some("NOACCESS") => Ok(()),
        Some(kind) => bail!(
            "a part of it is of the kind {kind}, which natoma does not read: convert it with 'qemu-img convert -O qcow2'"
        ),
        None => bail!("it can't be understood: {line}"),
    }
}

/// Opens the files that imago asks for.
struct Opener<'a, F> {
    open: F,
    /// Why one could not be opened, in full.
    failure: &'a mut Option<anyhow::Error>,
    directory: &'a Path,
}

impl<F: FnMut(&Path) -> Result<Arc<dyn Node>>> ImplicitOpenGate<NodeStorage> for Opener<'_, F> {
    /// A description refers to no other images.
    fn open_format<D: FormatDriverBuilder<NodeStorage>>(&mut self, _: D) -> io::Result<FormatAccess<NodeStorage>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open_storage(&mut self, wanted: StorageOpenOptions) -> io::Result<NodeStorage> {
        let path = wanted.get_filename().map_or_else(PathBuf::new, Path::to_owned);
        let opened = (self.open)(&path).with_context(|| {
            format!("the part {} of it", path.strip_prefix(self.directory).unwrap_or(&path).display())
        });
        match opened {
            Ok(node) => Ok(NodeStorage::of_image(node, SECTOR)),
            Err(error) => {
                *self.failure = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

impl Node for Vmdk {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len, offset, to)?;
        let filled: Vec<_> = to.iter().filter(|slice| !slice.is_empty()).collect();
        let (to, _mapped) = IoVectorMut::from_volatile_slice(filled);
        self.image.readv(to, offset).map_err(host_error)
    }

    fn write(&self, _: u64, _: &[VolatileSlice<'_>], _: bool) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    fn open(text: &str) -> Result<Vmdk> {
        let part = |path: &Path| -> Result<Arc<dyn Node>> {
            ensure!(path.ends_with("a b.raw"), "there is no {}", path.display());
            Ok(Arc::new(Memory::new((0..4096_u32).map(|n| (n / 512) as u8).collect())))
        };
        Vmdk::open(&Memory::new(text.as_bytes().to_vec()), Path::new("/images"), part)
    }

    fn refusal(text: &str) -> String {
        match open(text) {
            Ok(_) => panic!("{text} opens"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn parts_lie_one_after_the_other() {
        let image = open(
            "# Disk DescriptorFile\nversion=1\nencoding=\"windows-1252\"\nCID=1\nparentCID=ffffffff\n\
             isNativeSnapshot=\"no\"\ncreateType=\"custom\"\nRW 2 FLAT \"a b.raw\" 3\nRDONLY 1 ZERO\n\
             RW 1 FLAT \"a b.raw\"\nNOACCESS 1\nddb.adapterType = \"ide\"\n",
        )
        .unwrap();
        assert_eq!(image.len(), 5 * SECTOR);
        let mut found = [9; 2048];
        read_bytes(&image, 0, &mut found).unwrap();
        let sectors: Vec<_> = found.chunks(512).map(|sector| (sector[0], sector[511])).collect();
        assert_eq!(sectors, [(3, 3), (4, 4), (0, 0), (0, 0)]);
        assert!(read_bytes(&image, 2048, &mut found[..512]).is_err(), "no access");
    }

    #[test]
    fn what_is_no_description_or_not_readable_is_refused_with_the_reason() {
        for (text, reason) in [
            ("KDMV----", "sparse extent"),
            ("COWD----", "sparse extent"),
            ("ver", "too short"),
            ("version=1\n", "where its data is"),
            ("version=1\nRW x FLAT \"a b.raw\"\n", "can't be understood"),
            ("version=1\nRW 1\n", "can't be understood"),
            ("version=1\nRW 36028797018963968 ZERO\n", "too many sectors"),
            ("version=1\nRW 36028797018963967 ZERO\n", "damaged"),
            ("version=1\nRW 0 ZERO\n", "without any sector"),
            ("version=1\nRW 1 SPARSE \"a b.raw\"\n", "of the kind SPARSE"),
            ("version=1\nparentFileNameHint=\"x\"\nRW 1 ZERO\n", "over another image"),
            ("version=9\nRW 1 ZERO\n", "unsupported version 9"),
            ("version=1\nRW 1 FLAT \"missing\" 0\n", "the part missing of it: there is no /images/missing"),
            ("version=1\nRW 1 FLAT missing 0\n", "filename"),
        ] {
            let message = refusal(text);
            assert!(message.contains(reason), "{text:?}: {message}");
        }
        assert!(refusal(&"version=1\nRW 1 ZERO\n".repeat(1025)).contains("1025 parts"));
    }

    #[test]
    fn data_that_a_part_does_not_have_is_an_error() {
        let image = open("version=1\nRW 9 FLAT \"a b.raw\" 0\n").unwrap();
        assert!(read_bytes(&image, 8 * SECTOR, &mut [0; 512]).is_err());
    }

    /// All that `qemu-img create -f vmdk -o subformat=help` shows.
    #[test]
    fn of_the_kinds_that_qemu_img_makes_those_with_flat_parts_read_and_the_others_are_refused() {
        let directory = TempDir::new().unwrap();
        let (raw, vmdk) = (directory.path().join("raw"), directory.path().join("image.vmdk"));
        let contents: Vec<u8> = (0..1_u32 << 20).map(|n| (n >> 10) as u8 ^ n as u8).collect();
        fs::write(&raw, &contents).unwrap();
        let part = |path: &Path| -> Result<Arc<dyn Node>> { Ok(Arc::new(Memory::new(fs::read(path)?))) };
        for (kind, reads) in [
            ("monolithicFlat", true),
            ("twoGbMaxExtentFlat", true),
            ("monolithicSparse", false),
            ("twoGbMaxExtentSparse", false),
            ("streamOptimized", false),
        ] {
            let mut convert = Command::new("qemu-img");
            convert
                .args(["convert", "-f", "raw", "-O", "vmdk", "-o", &format!("subformat={kind}")])
                .args([&raw, &vmdk]);
            let Ok(status) = convert.status() else {
                println!("SKIPPED: there is no qemu-img (Debian: qemu-utils)");
                return;
            };
            assert!(status.success(), "{kind}");
            let opened = Vmdk::open(&Memory::new(fs::read(&vmdk).unwrap()), directory.path(), part);
            match opened {
                Ok(image) => {
                    assert!(reads, "{kind}");
                    let mut found = vec![0; contents.len()];
                    read_bytes(&image, 0, &mut found).unwrap();
                    assert!(found == contents, "{kind}");
                }
                Err(error) => {
                    let message = format!("{error:#}");
                    assert!(
                        !reads && message.contains("natoma does not read: convert it with 'qemu-img"),
                        "{kind}: {message}"
                    );
                }
            }
        }
    }
}
