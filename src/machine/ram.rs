//! Guest RAM: host memory of the kind that was asked for, in the layout of the board.
//!
//! Mappings are aligned to 2 MiB so that the host can back them by huge pages. They are not unmapped with the last who uses
//! them, as RAM lives as long as the process, whose end frees them all at once; who makes machines without end calls
//! [`unmap`]. The first and the last 2 MiB of a mapping get small pages all the same: the former could not be
//! mapped to the guest as a huge page, because memory slots end within it, and the latter holds the firmware's tables.
//! Both are written to before the guest starts, which would wait for 2 MiB to be cleared each time.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use devices::base::GuestRam;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};

use super::layout::MemoryLayout;
use crate::config::{MemoryBackend, MemoryBackendKind};

const HUGE_PAGE: u64 = 2 << 20;
/// Bytes that are allocated in advance between two looks at the signals.
const POPULATED_AT_ONCE: usize = 64 << 20;

/// Why there is no RAM.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The file can't be opened or made.
    #[error("can't open the memory file {}", .path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file can't be given the size of the memory.
    #[error("can't make the memory file {size} bytes long: is its file system full, or has it too few huge pages?")]
    Resize {
        /// Size of the memory in bytes.
        size: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too short and may not be written.
    #[error("the memory file {} has {found} bytes, {size} are needed, and it is opened read-only", .path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// Size of the memory in bytes.
        size: u64,
    },
    /// No anonymous file.
    #[error("can't create memory that is shared by file descriptor (memfd)")]
    Memfd(#[source] io::Error),
    /// The size does not fit the page size.
    #[error("{size} bytes of memory are not a multiple of the page size of {page} bytes")]
    PageSize {
        /// Size of the memory in bytes.
        size: u64,
        /// Page size in bytes.
        page: u64,
    },
    /// The alignment does not fit the page size.
    #[error("align={align}: the host's pages have {page} bytes, of which it must be a multiple")]
    Alignment {
        /// What was asked for.
        align: u64,
        /// Page size in bytes.
        page: u64,
    },
    /// The host gives no memory.
    #[error("the host does not give {} MiB of memory{}", .size >> 20, advice(*.huge))]
    Map {
        /// Size of all of it in bytes.
        size: u64,
        /// Whether huge pages were asked for.
        huge: bool,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A page can't be had in advance.
    #[error("can't allocate all memory in advance (prealloc=on): the host has too little free")]
    Prealloc(#[source] io::Error),
}

fn advice(huge: bool) -> &'static str {
    if huge { " in huge pages: see /proc/sys/vm/nr_hugepages" } else { ": use less (-m), or see vm.overcommit_memory" }
}

/// What the RAM is mapped from.
struct Source {
    file: Option<Arc<File>>,
    /// Granularity in bytes.
    page: u64,
    /// What the address of the mapping must be a multiple of.
    align: u64,
    shared: bool,
}

impl Source {
    fn open(backend: &MemoryBackend) -> Result<Self, RamError> {
        let huge = |size: u64| if size == 0 { HUGE_PAGE } else { size };
        match &backend.kind {
            MemoryBackendKind::Ram => {
                Ok(Self { file: None, page: page_size(), align: page_size(), shared: backend.share })
            }
            MemoryBackendKind::Memfd { hugetlb, hugetlbsize, seal } => {
                let file = memfd(&backend.id, hugetlb.then_some(*hugetlbsize))?;
                resize(&file, backend.size)?;
                if *seal {
                    let seals = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
                    // SAFETY: a plain request on a descriptor that we own.
                    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
                        return Err(RamError::Memfd(io::Error::last_os_error()));
                    }
                }
                let page = if *hugetlb { huge(*hugetlbsize) } else { page_size() };
                Ok(Self { file: Some(Arc::new(file)), page, align: page, shared: true })
            }
            MemoryBackendKind::File { path, align, readonly } => {
                let file = open_file(path, backend.size, *readonly)?;
                let page = block_size(&file).max(page_size());
                if !align.is_multiple_of(page) {
                    return Err(RamError::Alignment { align: *align, page });
                }
                Ok(Self {
                    file: Some(Arc::new(file)),
                    page,
                    align: page.max(*align),
                    shared: backend.share && !readonly,
                })
            }
        }
    }
}

fn page_size() -> u64 {
    // SAFETY: reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// The size of the file system's pages if it is hugetlbfs.
fn block_size(file: &File) -> u64 {
    match nix::sys::statfs::fstatfs(file) {
        Ok(fs) if fs.filesystem_type() == nix::sys::statfs::HUGETLBFS_MAGIC => fs.block_size() as u64,
        _ => 0,
    }
}

fn memfd(name: &str, hugetlb: Option<u64>) -> Result<File, RamError> {
    let mut flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    if let Some(size) = hugetlb {
        flags |= libc::MFD_HUGETLB;
        if size != 0 {
            flags |= size.trailing_zeros() << libc::MFD_HUGE_SHIFT;
        }
    }
    let name = std::ffi::CString::new(name).unwrap_or_default();
    // SAFETY: the name is a C string that lives through the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if fd < 0 {
        return Err(RamError::Memfd(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was made just now and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn resize(file: &File, size: u64) -> Result<(), RamError> {
    file.set_len(size).map_err(|source| RamError::Resize { size, source })
}

/// Opens the file, makes it if it does not exist, or makes one without a name if `path` is a directory.
fn open_file(path: &Path, size: u64, readonly: bool) -> Result<File, RamError> {
    let error = |source| RamError::Open { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(!readonly);
    let file = if path.is_dir() {
        options.custom_flags(libc::O_TMPFILE).mode(0o600).open(path).or_else(|_| unnamed_file(path)).map_err(error)?
    } else {
        options.create(!readonly).mode(0o644).open(path).map_err(error)?
    };
    let found = file.metadata().map_err(error)?.len();
    match (found < size, readonly) {
        (false, _) => {}
        (true, true) => return Err(RamError::TooShort { path: path.to_owned(), found, size }),
        (true, false) => resize(&file, size)?,
    }
    Ok(file)
}

/// A file in `directory` that loses its name at once, for file systems without O_TMPFILE (hugetlbfs).
fn unnamed_file(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!("natoma_back_mem.{}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Why a backend does not become RAM.
#[derive(Debug, thiserror::Error)]
#[error("{option}")]
pub struct BackendError {
    /// The option that asks for it.
    pub option: String,
    /// Why.
    pub source: RamError,
}

/// A backend, and where what it holds begins in RAM.
struct Part<'a> {
    backend: &'a MemoryBackend,
    source: Source,
    start: u64,
}

impl Part<'_> {
    /// The bytes of RAM that it holds, counted without holes.
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.backend.size
    }

    fn error(&self, source: RamError) -> BackendError {
        BackendError { option: self.backend.option(), source }
    }
}

/// Looks whether backends that nobody uses could be had: files are made and memory is asked for, and given back.
///
/// # Errors
/// The host does not give the memory, or a file behind it is unusable.
pub fn try_out(backends: &[MemoryBackend]) -> Result<(), BackendError> {
    for backend in backends {
        Source::open(backend).map_err(|source| BackendError { option: backend.option(), source })?;
    }
    Ok(())
}

/// Maps the RAM of `layout`, which `backends` hold one after the other.
///
/// # Errors
/// The host does not give the memory, or a file behind it is unusable.
pub fn map(backends: &[MemoryBackend], layout: &MemoryLayout) -> Result<GuestRam, BackendError> {
    let mut parts = Vec::new();
    let mut start = 0;
    for backend in backends {
        let error = |source| BackendError { option: backend.option(), source };
        parts.push(Part { backend, source: Source::open(backend).map_err(error)?, start });
        start += backend.size;
    }
    let Some(first) = parts.first() else { return Ok(Arc::default()) };
    let whole = |error| first.error(map_error(first.backend, error));
    let mut regions = Vec::new();
    // Addresses of the pieces, of which some are to be allocated in advance.
    let mut pieces = Vec::new();
    for region in layout.ram_regions() {
        let size = region.guest.end - region.guest.start;
        let align = parts.iter().fold(HUGE_PAGE, |align, part| align.max(part.source.align));
        let host = reserve(size, align).map_err(whole)?;
        let mut files = Vec::new();
        for part in &parts {
            let range = part.range().start.max(region.offset)..part.range().end.min(region.offset + size);
            if range.is_empty() {
                continue;
            }
            let (at, offset, len) = (range.start - region.offset, range.start - part.start, range.end - range.start);
            let page = part.source.page;
            if let Some(size) = [len, at].into_iter().find(|size| !size.is_multiple_of(page)) {
                return Err(part.error(RamError::PageSize { size, page }));
            }
            let piece = host as usize + at as usize;
            map_piece(part, piece, len as usize, offset).map_err(|error| part.error(map_error(part.backend, error)))?;
            pieces.push((part, piece, len as usize));
            files.push((part.source.shared, part.source.file.as_ref(), offset));
        }
        let shared = files.iter().all(|(shared, ..)| *shared);
        let mut builder = MmapRegionBuilder::new(size as usize)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_NORESERVE | if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE });
        if let [(_, Some(file), offset)] = files.as_slice() {
            builder = builder.with_file_offset(FileOffset::from_arc(Arc::clone(file), *offset));
        }
        // SAFETY: `host` was mapped just now with this size and is used by nobody else. Only `unmap` unmaps it, after the region.
        let builder = unsafe { builder.with_raw_mmap_pointer(host) };
        let mapped = builder.build().map_err(|error| whole(io::Error::other(error)))?;
        regions.push(
            GuestRegionMmap::new(mapped, GuestAddress(region.guest.start))
                .ok_or_else(|| whole(io::ErrorKind::InvalidInput.into()))?,
        );
    }
    let ram = GuestMemoryMmap::from_regions(regions).map_err(|error| whole(io::Error::other(error)))?;
    // Takes long, so that whatever else can fail comes before it.
    for (part, start, len) in pieces.into_iter().filter(|(part, ..)| part.backend.prealloc) {
        prealloc(start, len, part.backend.prealloc_threads).map_err(|error| part.error(RamError::Prealloc(error)))?;
    }
    Ok(Arc::new(ram))
}

/// Unmaps RAM that nobody else uses; whether nobody does.
#[must_use]
pub fn unmap(ram: GuestRam) -> bool {
    let Some(mut ram) = Arc::into_inner(ram) else { return false };
    let regions: Vec<_> = ram.iter().map(|region| (region.start_addr(), region.len())).collect();
    for (start, len) in regions {
        let Ok((rest, region)) = ram.remove_region(start, len) else { return false };
        ram = rest;
        // A copy of the collection would share its regions.
        let Some(region) = Arc::into_inner(region) else { return false };
        let (host, len) = (region.as_ptr(), region.size());
        drop(region);
        // SAFETY: `map` made this mapping and left it to the region, which nobody else had and which is gone.
        let _ = unsafe { libc::munmap(host.cast(), len) };
    }
    true
}

fn map_error(backend: &MemoryBackend, source: io::Error) -> RamError {
    let huge = matches!(backend.kind, MemoryBackendKind::Memfd { hugetlb: true, .. });
    RamError::Map { size: backend.size, huge, source }
}

/// Reserves `size` bytes of addresses that begin at a multiple of `align`.
fn reserve(size: u64, align: u64) -> io::Result<*mut u8> {
    let (len, align) = (size as usize, align as usize);
    let reserved = len.checked_add(align).ok_or(io::ErrorKind::OutOfMemory)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let area = unsafe { libc::mmap(ptr::null_mut(), reserved, libc::PROT_NONE, flags, -1, 0) };
    if area == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = (area as usize).next_multiple_of(align);
    for (from, to) in [(area as usize, start), (start + len, area as usize + reserved)] {
        if from < to {
            // SAFETY: an unused end of the reserved area.
            let _ = unsafe { libc::munmap(from as *mut libc::c_void, to - from) };
        }
    }
    Ok(area.wrapping_byte_add(start - area as usize).cast())
}

/// Maps `len` bytes of a backend from `offset` on to `start`, which has been reserved, and gives the kernel its advice.
fn map_piece(Part { backend, source, .. }: &Part<'_>, start: usize, len: usize, offset: u64) -> io::Result<()> {
    let (fd, kind) = match &source.file {
        Some(file) => (file.as_raw_fd(), 0),
        None => (-1, libc::MAP_ANONYMOUS),
    };
    let sharing = if source.shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    let reserve = if backend.reserve { 0 } else { libc::MAP_NORESERVE };
    // SAFETY: replaces part of an area that was reserved just now.
    let host = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            sharing | kind | reserve | libc::MAP_FIXED,
            fd,
            offset as libc::off_t,
        )
    };
    if host == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    advise(host, len, backend, source.file.is_none());
    Ok(())
}

/// Advice that may be refused where the kernel lacks the feature.
fn advise(host: *mut libc::c_void, len: usize, backend: &MemoryBackend, anonymous: bool) {
    let start = host as usize;
    let whole = start..start + len;
    let inner = start + HUGE_PAGE as usize..(start + len).saturating_sub(HUGE_PAGE as usize);
    let advice = [
        (anonymous && !inner.is_empty(), inner, libc::MADV_HUGEPAGE),
        (backend.merge, whole.clone(), libc::MADV_MERGEABLE),
        (!backend.dump, whole, libc::MADV_DONTDUMP),
    ];
    for (_, range, advice) in advice.into_iter().filter(|(wanted, ..)| *wanted) {
        // SAFETY: these change how the kernel manages the mapping, not what it holds.
        let _ = unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), advice) };
    }
}

/// Makes the host back every page now, on `threads` threads.
fn prealloc(start: usize, len: usize, threads: u32) -> io::Result<()> {
    let share = len.div_ceil(threads.max(1) as usize).next_multiple_of(HUGE_PAGE as usize);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (start..start + len)
            .step_by(share)
            .map(|from| scope.spawn(move || populate(from, share.min(start + len - from))))
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(io::Error::other("panic"))))
    })
}

fn populate(start: usize, len: usize) -> io::Result<()> {
    (start..start + len).step_by(POPULATED_AT_ONCE).try_for_each(|from| {
        if signal_waits() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        populate_piece(from, POPULATED_AT_ONCE.min(start + len - from))
    })
}

/// Whether a signal that ends natoma waits for the main loop, which has not begun.
fn signal_waits() -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: writes the set, which outlives the call.
    if unsafe { libc::sigpending(pending.as_mut_ptr()) } != 0 {
        return false;
    }
    [libc::SIGHUP, libc::SIGINT, libc::SIGTERM].into_iter().any(|signal| {
        // SAFETY: the set was written above, and the signal exists.
        unsafe { libc::sigismember(pending.as_ptr(), signal) == 1 }
    })
}

fn populate_piece(start: usize, len: usize) -> io::Result<()> {
    // SAFETY: faults in pages of a mapping of ours without changing their contents.
    if unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_POPULATE_WRITE) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EINVAL) {
        return Err(error);
    }
    // Linux before 5.14: touch each page. Without memory left the kernel ends the process, as it does QEMU's.
    for page in (start..start + len).step_by(page_size() as usize) {
        let byte = page as *mut u8;
        // SAFETY: a byte of a mapping of ours that nobody uses yet.
        let value = unsafe { byte.read_volatile() };
        // SAFETY: as above; the value stays what it was.
        unsafe { byte.write_volatile(value) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use vm_memory::Bytes;

    use super::*;
    use crate::machine::layout::Rules;

    fn layout(ram_size: u64) -> MemoryLayout {
        let rules =
            Rules { ram_size, max_ram_below_4g: Some(16 << 20), phys_bits: 48, amd: false, pci_hole64_size: 1 << 30 };
        MemoryLayout::new(&rules).unwrap()
    }

    fn backend(kind: MemoryBackendKind) -> MemoryBackend {
        MemoryBackend { kind, ..MemoryBackend::anonymous("test", 24 << 20) }
    }

    fn file(path: &Path, readonly: bool) -> MemoryBackendKind {
        MemoryBackendKind::File { path: path.to_owned(), align: 0, readonly }
    }

    /// Writes at both ends of both regions and reads back.
    fn check(ram: &GuestRam) {
        let places = [0_u64, (16 << 20) - 8, 4 << 30, (4 << 30) + (8 << 20) - 8];
        for (value, place) in (1_u64..).zip(places) {
            ram.write_obj(value, GuestAddress(place)).unwrap();
        }
        let seen: HashSet<u64> = places.iter().map(|place| ram.read_obj(GuestAddress(*place)).unwrap()).collect();
        assert_eq!(seen, HashSet::from([1, 2, 3, 4]));
        assert!(ram.read_obj::<u8>(GuestAddress(16 << 20)).is_err());
        for region in ram.iter() {
            assert_eq!(region.as_ptr() as u64 % HUGE_PAGE, 0, "not aligned for huge pages");
        }
    }

    #[test]
    fn every_kind_of_memory_holds_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ram");
        for kind in [
            MemoryBackendKind::Ram,
            MemoryBackendKind::Memfd { hugetlb: false, hugetlbsize: 0, seal: true },
            file(directory.path(), false),
            file(&path, false),
        ] {
            for (share, prealloc) in [(false, false), (true, true)] {
                let backend = MemoryBackend { share, prealloc, prealloc_threads: 3, ..backend(kind.clone()) };
                check(&map(&[backend], &layout(24 << 20)).unwrap());
            }
        }
        let contents = std::fs::read(&path).unwrap();
        assert_eq!(contents.len(), 24 << 20);
        assert_eq!(contents[0], 1, "shared memory lands in the file");
        assert_eq!(contents[16 << 20], 3, "RAM above the hole follows directly in the file");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no file is left behind");
        check(&map(&[backend(file(&path, true))], &layout(24 << 20)).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), contents, "a read-only file is not written");
    }

    /// Of three backends the second holds the end of RAM below the hole and the beginning of that above it.
    #[test]
    fn backends_follow_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [0, 1, 2].map(|number| directory.path().join(number.to_string()));
        let backends: Vec<_> = [(&paths[0], 12), (&paths[1], 8), (&paths[2], 4)]
            .into_iter()
            .map(|(path, mib)| MemoryBackend { size: mib << 20, share: true, ..backend(file(path, false)) })
            .collect();
        let ram = map(&backends, &layout(24 << 20)).unwrap();
        check(&ram);
        assert_eq!(ram.num_regions(), 2);
        // One access across the seam.
        ram.write_obj(0x1122_3344_5566_7788_u64, GuestAddress((12 << 20) - 4)).unwrap();
        let contents = paths.map(|path| std::fs::read(path).unwrap());
        assert_eq!(contents.each_ref().map(Vec::len), [12 << 20, 8 << 20, 4 << 20]);
        assert_eq!((contents[0][0], contents[1][(4 << 20) - 8], contents[1][4 << 20]), (1, 2, 3));
        assert_eq!(contents[2][(4 << 20) - 8], 4);
        assert_eq!((contents[0][(12 << 20) - 4], contents[1][0]), (0x88, 0x44));
    }

    #[test]
    fn memory_that_is_in_use_is_not_unmapped() {
        let ram = map(&[backend(MemoryBackendKind::Ram)], &layout(24 << 20)).unwrap();
        let user = GuestRam::clone(&ram);
        assert!(!unmap(ram));
        check(&user);
        let copy = GuestMemoryMmap::clone(&user);
        assert!(!unmap(user));
        let copy = GuestRam::new(copy);
        check(&copy);
        assert!(unmap(copy));
    }

    #[test]
    fn a_backend_that_nobody_uses_must_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let spare = |path: &Path| [backend(file(path, false))];
        try_out(&spare(&directory.path().join("new"))).unwrap();
        let error = try_out(&spare(Path::new("/nonexistent/directory/file"))).unwrap_err();
        assert!(error.to_string().contains("memory-backend-file"), "{error}");
    }

    #[test]
    fn impossible_wishes_are_explained() {
        let directory = tempfile::tempdir().unwrap();
        let short = directory.path().join("short");
        std::fs::write(&short, [0; 10]).unwrap();
        let error = map(&[backend(file(&short, true))], &layout(24 << 20)).unwrap_err().source.to_string();
        assert!(error.contains("has 10 bytes, 25165824 are needed"), "{error}");
        let error = map(&[backend(file(Path::new("/nonexistent/ram"), false))], &layout(24 << 20)).unwrap_err();
        assert_eq!(error.to_string(), "-object memory-backend-file,id=test");
        assert_eq!(error.source.to_string(), "can't open the memory file /nonexistent/ram");
        let aligned = |align| MemoryBackendKind::File { path: directory.path().to_owned(), align, readonly: false };
        let error = map(&[backend(aligned(512))], &layout(24 << 20)).unwrap_err().source.to_string();
        assert!(error.starts_with("align=512: the host's pages have 4096 bytes"), "{error}");
        let ram = map(&[backend(aligned(64 << 20))], &layout(24 << 20)).unwrap();
        assert!(ram.iter().all(|region| (region.as_ptr() as u64).is_multiple_of(64 << 20)), "not aligned as asked");
    }
}
