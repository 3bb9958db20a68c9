//! Where a kernel or an initrd comes from: a file that is read piece by piece straight into guest memory, or, for a pipe
//! and for images built into the program, bytes held in memory.
//!
//! An [`Image`] stays open for the life of the machine, so that a guest reset loads the same image again even if the
//! file has been renamed or deleted since.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use vm_memory::GuestMemoryMmap;

use super::ram::{self, FillError, MemoryError};

/// A kernel, an initrd or a module.
#[derive(Debug)]
pub struct Image {
    name: String,
    len: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Something that can be read at any offset, any number of times.
    File(File),
    Bytes(Cow<'static, [u8]>),
}

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The host refused to open it.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// A directory was named.
    #[error("it is a directory; name the file")]
    Directory,
    /// Reading failed on the host.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// A pipe or character device had more to give than the guest has memory.
    #[error("it is a pipe or device that gives more than the {limit} bytes of guest memory; name a regular file")]
    Endless {
        /// Size of guest memory in bytes.
        limit: u64,
    },
    /// A file has become shorter since it was opened.
    #[error("the file became shorter while it was in use (it had {len} bytes)")]
    Shrunk {
        /// Length when the file was opened.
        len: u64,
    },
    /// The destination is not guest memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Image {
    /// Opens `path`. What cannot be read at an offset (a pipe, a terminal, `/dev/stdin` of a pipeline) is read to its end
    /// now, up to `limit` bytes: more than guest memory could not be loaded anyway.
    pub fn open(path: &Path, limit: u64) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(ImageError::Open)?;
        let metadata = file.metadata().map_err(ImageError::Open)?;
        if metadata.is_dir() {
            return Err(ImageError::Directory);
        }
        // A regular file that claims to be empty may be a view of kernel data (procfs), which knows no length beforehand.
        let len = if metadata.is_file() {
            metadata.len()
        } else if metadata.file_type().is_block_device() {
            file.seek(SeekFrom::End(0)).map_err(ImageError::Read)?
        } else {
            0
        };
        if len > 0 {
            return Ok(Self { name, len, source: Source::File(file) });
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(ImageError::Read)?;
        if bytes.len() as u64 > limit {
            return Err(ImageError::Endless { limit });
        }
        Ok(Self::from_bytes(name, bytes))
    }

    /// An image that is already in memory; `name` is what error messages call it.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        let bytes = bytes.into();
        Self { name: name.into(), len: bytes.len() as u64, source: Source::Bytes(bytes) }
    }

    /// What the user calls it: the path as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Up to `len` bytes from `offset` on, fewer only where the image ends.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, ImageError> {
        let len = len.min(self.len.saturating_sub(offset)) as usize;
        match &self.source {
            Source::Bytes(bytes) => {
                // Empty, so never out of bounds, when `offset` is past the end.
                let start = offset.min(self.len) as usize;
                Ok(bytes[start..start + len].to_vec())
            }
            Source::File(file) => {
                let mut buf = vec![0; len];
                file.read_exact_at(&mut buf, offset).map_err(|e| self.read_error(e))?;
                Ok(buf)
            }
        }
    }

    /// Copies `len` bytes at `offset` to guest address `addr`, without a buffer in between.
    pub(super) fn copy_to(
        &mut self,
        mem: &GuestMemoryMmap,
        offset: u64,
        len: u64,
        addr: u64,
    ) -> Result<(), ImageError> {
        if len == 0 {
            return Ok(());
        }
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ImageError::Shrunk { len: self.len });
        }
        let filled = match &mut self.source {
            Source::Bytes(bytes) => ram::fill(mem, addr, len, &mut &bytes[offset as usize..]),
            Source::File(file) => file
                .seek(SeekFrom::Start(offset))
                .map_err(FillError::Source)
                .and_then(|_| ram::fill(mem, addr, len, file)),
        };
        filled.map_err(|e| match e {
            FillError::Source(e) => self.read_error(e),
            FillError::Memory(e) => e.into(),
        })
    }

    fn read_error(&self, error: io::Error) -> ImageError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            ImageError::Shrunk { len: self.len }
        } else {
            ImageError::Read(error)
        }
    }
}
