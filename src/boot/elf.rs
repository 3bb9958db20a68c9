//! ELF kernels: which segments go where, where execution starts, and what the notes say about the boot protocol.
//!
//! Follows the System V ABI, "Object Files" (chapters 4 and 5), and Xen's `elfnote.h` for the PVH entry point. Parsing is
//! the `elf` crate's. `linux-loader` has an ELF loader too, but it checks a segment against nothing but the end of guest
//! memory, leaves BSS as it was, knows 64-bit files only and stops looking for the PVH note after one strange note.
//!
//! Not done: relocation (a position-independent kernel is loaded where it is linked), section headers and symbols.

use std::ops::Range;

use elf::abi;
use elf::endian::{AnyEndian, EndianParse};
use elf::file::{Class, ELF64_EHDR_TAILSIZE, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use elf::to_str::{e_machine_to_human_str, e_type_to_human_str};

use super::KernelError;
use super::guest::Guest;
use super::image::Image;

/// Notes are small; whoever claims more than this has a broken or hostile file.
const MAX_NOTES: u64 = 1 << 20;
/// Note type of the PVH entry point, under the name "Xen".
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
/// Where the text of every 64-bit Linux kernel is linked: `__START_KERNEL_map`.
const LINUX_TEXT: u64 = 0xffff_ffff_8000_0000;

/// What is wrong with an ELF file that was given as a kernel.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Headers that contradict themselves.
    #[error("its ELF headers are damaged: {0}")]
    Damaged(&'static str),
    /// Headers that the parser does not accept.
    #[error("its ELF headers are damaged")]
    Parse(#[from] elf::ParseError),
    /// A kernel for another processor.
    #[error(
        "it is an ELF file for another machine ({machine}{}); an x86 kernel is needed",
        if *big_endian { ", big-endian" } else { "" }
    )]
    OtherMachine {
        /// Name of the processor.
        machine: String,
        /// Whether the file is big-endian, as no x86 file is.
        big_endian: bool,
    },
    /// An object file, a kernel module, a core dump.
    #[error("it is not an executable ELF file but: {0}")]
    NotExecutable(String),
    /// A program for an operating system.
    #[error("it is a program for an operating system (it asks for a dynamic linker), not a kernel")]
    Program,
    /// Part of the file is missing.
    #[error("the file is truncated: its headers promise {needed} bytes, it has {len}")]
    Truncated {
        /// Bytes promised.
        needed: u64,
        /// Bytes there.
        len: u64,
    },
    /// The entry point is outside of what is loaded.
    #[error("its entry point {0:#x} is in none of its segments")]
    EntryOutside(u64),
    /// Nothing says how to enter it.
    #[error(
        "it is an ELF file that says of no boot protocol that it follows it: no PVH note, no multiboot header, and it is not a \
         64-bit Linux kernel"
    )]
    NoProtocol,
}

/// One piece of the file and its place in guest memory.
#[derive(Clone, Debug)]
struct Segment {
    offset: u64,
    file_len: u64,
    virt: u64,
    /// Physical addresses, of which the first `file_len` come from the file and the rest is zero.
    phys: Range<u64>,
    executable: bool,
}

/// The parts of an ELF file that matter for loading it. Segments are sorted by address and do not overlap.
#[derive(Debug)]
pub(super) struct Elf {
    segments: Vec<Segment>,
    /// Whether it is a 64-bit file.
    pub(super) is_64bit: bool,
    entry: u64,
    /// Entry point by the PVH protocol, if the file has one.
    pub(super) pvh_entry: Option<u32>,
    linux_note: bool,
}

/// Whether the file starts like an ELF file.
pub(super) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(&abi::ELFMAGIC)
}

impl Elf {
    /// Reads the headers and notes of `image`, which starts with `head`.
    pub(super) fn parse(image: &Image, head: &[u8]) -> Result<Self, KernelError> {
        let header = file_header(head, image.len())?;
        let headers = program_headers(image, &header)?;
        if headers.iter().any(|h| h.p_type == abi::PT_INTERP) {
            return Err(ElfError::Program.into());
        }

        let mut segments = headers
            .iter()
            .filter(|h| h.p_type == abi::PT_LOAD && h.p_memsz > 0)
            .map(|h| Segment::new(h, image.len()))
            .collect::<Result<Vec<_>, _>>()?;
        segments.sort_by_key(|s| s.phys.start);
        if segments.is_empty() {
            return Err(ElfError::Damaged("there is nothing to load").into());
        }
        if segments.windows(2).any(|s| s[0].phys.end > s[1].phys.start) {
            return Err(ElfError::Damaged("segments overlap in physical memory").into());
        }

        let mut this = Self {
            segments,
            is_64bit: header.class == Class::ELF64,
            entry: header.e_entry,
            pvh_entry: None,
            linux_note: false,
        };
        this.read_notes(image, &header, &headers)?;
        Ok(this)
    }

    fn read_notes(
        &mut self,
        image: &Image,
        header: &FileHeader<AnyEndian>,
        headers: &[ProgramHeader],
    ) -> Result<(), KernelError> {
        let mut budget = MAX_NOTES;
        for h in headers.iter().filter(|h| h.p_type == abi::PT_NOTE) {
            let Some(left) = budget.checked_sub(h.p_filesz) else {
                return Err(ElfError::Damaged("more than 1 MiB of notes").into());
            };
            budget = left;
            check_in_file(h, image.len())?;
            let bytes = image.read(h.p_offset, h.p_filesz)?;
            for note in (Notes { bytes: &bytes, at: 0, align: h.p_align, endian: header.endianness }) {
                match (note.name, note.kind) {
                    (b"Xen\0", XEN_ELFNOTE_PHYS32_ENTRY) => {
                        let entry = note.desc.first_chunk().copied().map(u32::from_le_bytes);
                        self.pvh_entry = entry;
                    }
                    (b"Linux\0", _) => self.linux_note = true,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether this is a 64-bit Linux kernel, which can be entered by the 64-bit boot protocol: kernels since 5.0 say so in
    /// a note, older ones can be told by the address their text is linked at.
    pub(super) fn is_linux64(&self) -> bool {
        self.is_64bit
            && (self.linux_note || (self.segments.iter()).any(|s| s.virt >= LINUX_TEXT && s.virt != s.phys.start))
    }

    /// The physical address of the entry point in the file header, which some linkers give as a virtual address.
    pub(super) fn entry(&self) -> Result<u64, ElfError> {
        let by_virtual_address = self.segments.iter().find_map(|s| {
            let offset = self.entry.checked_sub(s.virt)?;
            (s.executable && offset < s.phys.end - s.phys.start).then(|| s.phys.start + offset)
        });
        match by_virtual_address {
            Some(entry) => Ok(entry),
            None if self.loads(self.entry) => Ok(self.entry),
            None => Err(ElfError::EntryOutside(self.entry)),
        }
    }

    /// Whether something is loaded at a physical address.
    pub(super) fn loads(&self, addr: u64) -> bool {
        self.segments.iter().any(|s| s.phys.contains(&addr))
    }

    /// First address after everything that is loaded.
    pub(super) fn end(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.phys.end)
    }

    /// Claims the memory for all segments, copies them there and clears what the file has no bytes for.
    pub(super) fn load(&self, image: &mut Image, guest: &mut Guest<'_>) -> Result<(), KernelError> {
        // From the top, so that a kernel larger than RAM is told how much it needs in all.
        for segment in self.segments.iter().rev() {
            guest.free.take(segment.phys.clone())?;
        }
        for s in &self.segments {
            image.copy_to(guest.mem, s.offset, s.file_len, s.phys.start)?;
            guest.clear(s.phys.start + s.file_len..s.phys.end)?;
        }
        Ok(())
    }
}

impl Segment {
    fn new(h: &ProgramHeader, file_len: u64) -> Result<Self, ElfError> {
        check_in_file(h, file_len)?;
        if h.p_filesz > h.p_memsz {
            return Err(ElfError::Damaged("a segment is larger in the file than in memory"));
        }
        let end =
            (h.p_paddr.checked_add(h.p_memsz)).ok_or(ElfError::Damaged("a segment wraps around the address space"))?;
        Ok(Self {
            offset: h.p_offset,
            file_len: h.p_filesz,
            virt: h.p_vaddr,
            phys: h.p_paddr..end,
            executable: h.p_flags & abi::PF_X != 0,
        })
    }
}

/// The file header of an x86 executable.
fn file_header(head: &[u8], file_len: u64) -> Result<FileHeader<AnyEndian>, ElfError> {
    let len = abi::EI_NIDENT + ELF64_EHDR_TAILSIZE;
    let Some(head) = head.get(..len) else {
        return Err(ElfError::Truncated { needed: len as u64, len: file_len });
    };
    let (ident, tail) = head.split_at(abi::EI_NIDENT);
    let header = FileHeader::parse_tail(parse_ident(ident)?, tail)?;
    check_kind(&header)?;
    Ok(header)
}

/// Refuses what is not an x86 executable.
fn check_kind(header: &FileHeader<AnyEndian>) -> Result<(), ElfError> {
    let big_endian = header.endianness == AnyEndian::Big;
    let x86 = matches!((header.class, header.e_machine), (_, abi::EM_X86_64) | (Class::ELF32, abi::EM_386));
    if big_endian || !x86 {
        return Err(ElfError::OtherMachine {
            machine: e_machine_to_human_str(header.e_machine)
                .map_or_else(|| format!("number {}", header.e_machine), str::to_owned),
            big_endian,
        });
    }
    match header.e_type {
        abi::ET_EXEC | abi::ET_DYN => Ok(()),
        abi::ET_REL => Err(ElfError::NotExecutable("an object file or a kernel module".to_owned())),
        other => Err(ElfError::NotExecutable(
            e_type_to_human_str(other).map_or_else(|| format!("type {other}"), str::to_ascii_lowercase),
        )),
    }
}

fn program_headers(image: &Image, header: &FileHeader<AnyEndian>) -> Result<Vec<ProgramHeader>, KernelError> {
    let entry_size: u16 = match header.class {
        Class::ELF32 => 32,
        Class::ELF64 => 56,
    };
    if header.e_phnum == 0 {
        return Err(ElfError::Damaged("there are no program headers").into());
    }
    if header.e_phnum == abi::PN_XNUM || header.e_phentsize != entry_size {
        return Err(ElfError::Damaged("the program headers have an impossible size").into());
    }
    let len = u64::from(header.e_phnum) * u64::from(entry_size);
    let table = image.read(header.e_phoff, len)?;
    if (table.len() as u64) < len {
        return Err(ElfError::Truncated { needed: header.e_phoff.saturating_add(len), len: image.len() }.into());
    }
    Ok(SegmentTable::new(header.endianness, header.class, &table).iter().collect())
}

fn check_in_file(h: &ProgramHeader, len: u64) -> Result<(), ElfError> {
    let needed = h.p_offset.saturating_add(h.p_filesz);
    if needed > len {
        return Err(ElfError::Truncated { needed, len });
    }
    Ok(())
}

struct Note<'a> {
    name: &'a [u8],
    kind: u32,
    desc: &'a [u8],
}

/// The notes of a segment. All their parts are aligned to 4 bytes, whatever the alignment of the segment; if that is larger,
/// linkers leave zeroes between the notes of two sections. What is damaged ends the list.
struct Notes<'a> {
    bytes: &'a [u8],
    at: usize,
    align: u64,
    endian: AnyEndian,
}

impl<'a> Notes<'a> {
    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..len as usize)?;
        self.at = (self.at + taken.len()).next_multiple_of(4);
        Some(taken)
    }

    fn word(&mut self) -> Option<u32> {
        let word = self.take(4)?;
        self.endian.parse_u32_at(&mut 0, word).ok()
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        let may_be_padding = !(self.at as u64).is_multiple_of(self.align.max(1));
        let mut name_len = self.word()?;
        if may_be_padding && name_len == 0 {
            name_len = self.word()?;
        }
        let desc_len = self.word()?;
        let kind = self.word()?;
        let name = self.take(name_len)?;
        let desc = self.take(desc_len)?;
        Some(Note { name, kind, desc })
    }
}
