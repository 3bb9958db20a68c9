//! Builders of kernel images, with offsets from the documents.

/// A bzImage: a boot sector with a setup header, setup sectors, and code.
#[derive(Clone)]
pub struct BzImage {
    pub version: u16,
    pub setup_sects: u8,
    pub loadflags: u8,
    pub code32_start: u32,
    pub initrd_addr_max: u32,
    pub kernel_alignment: u32,
    pub relocatable: u8,
    pub xloadflags: u16,
    pub cmdline_size: u32,
    pub pref_address: u64,
    pub init_size: u32,
    /// End of the setup header in the file.
    pub header_end: usize,
    /// The protected-mode code, rounded up to 16 bytes in the file.
    pub code: Vec<u8>,
}

impl Default for BzImage {
    /// A 64-bit kernel much like Linux 6.1.
    fn default() -> Self {
        Self {
            version: 0x20f,
            setup_sects: 27,
            loadflags: 1,
            code32_start: 0x10_0000,
            initrd_addr_max: 0x7fff_ffff,
            kernel_alignment: 0x20_0000,
            relocatable: 1,
            xloadflags: 0b11,
            cmdline_size: 2047,
            pref_address: 0x100_0000,
            init_size: 0x80_0000,
            header_end: 0x26c,
            code: (0..40_000u32).map(|i| (i * 7) as u8).collect(),
        }
    }
}

impl BzImage {
    /// A 32-bit kernel of the year 2003: protocol 2.03, nothing relocatable.
    pub fn linux_2_4() -> Self {
        Self {
            version: 0x203,
            setup_sects: 10,
            initrd_addr_max: 0x37ff_ffff,
            // The fields below did not exist: what is in the file there is code.
            kernel_alignment: 0x9090_9090,
            relocatable: 0x90,
            xloadflags: 0x9090,
            cmdline_size: 0x9090_9090,
            pref_address: 0x9090_9090_9090_9090,
            init_size: 0x9090_9090,
            header_end: 0x230,
            ..Self::default()
        }
    }

    pub fn build(&self) -> Vec<u8> {
        let setup = (usize::from(self.setup_sects) + 1) * 512;
        let mut code = self.code.clone();
        code.resize(code.len().next_multiple_of(16), 0);
        let mut file = vec![0x90; setup];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[self.setup_sects]);
        put(0x1f2, &1u16.to_le_bytes()); // root_flags: read-only
        put(0x1f4, &((code.len() / 16) as u32).to_le_bytes());
        put(0x1f8, &[0; 6]);
        put(0x1fe, &[0x55, 0xaa]);
        put(0x200, &[0xeb, (self.header_end - 0x202) as u8]);
        put(0x202, b"HdrS");
        put(0x206, &self.version.to_le_bytes());
        put(0x208, &[0; 6]);
        put(0x20e, &0x300u16.to_le_bytes()); // kernel_version, at 0x500
        put(0x210, &[0, self.loadflags, 0, 0]);
        put(0x214, &self.code32_start.to_le_bytes());
        put(0x218, &[0xee; 8]); // ramdisk_image, ramdisk_size: to be overwritten
        put(0x220, &[0; 12]);
        put(0x22c, &self.initrd_addr_max.to_le_bytes());
        put(0x230, &self.kernel_alignment.to_le_bytes());
        put(0x234, &[self.relocatable, 21]);
        put(0x236, &self.xloadflags.to_le_bytes());
        put(0x238, &self.cmdline_size.to_le_bytes());
        put(0x23c, &[0; 12]);
        put(0x248, &[0; 8]);
        put(0x250, &[0xee; 8]); // setup_data: to be overwritten
        put(0x258, &self.pref_address.to_le_bytes());
        put(0x260, &self.init_size.to_le_bytes());
        put(0x264, &[0; 8]);
        put(0x500, b"6.1.0-test (someone@somewhere) #1\0");
        file.extend(code);
        file
    }
}

/// A segment that is loaded.
#[derive(Clone)]
pub struct Load {
    pub virt: u64,
    pub phys: u64,
    pub bytes: Vec<u8>,
    pub memsz: u64,
}

impl Load {
    pub fn flat(addr: u64, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { virt: addr, phys: addr, memsz: bytes.len() as u64, bytes }
    }
}

/// An ELF file.
#[derive(Clone)]
pub struct Elf {
    pub bits: u8,
    pub big_endian: bool,
    pub machine: u16,
    pub kind: u16,
    pub entry: u64,
    pub loads: Vec<Load>,
    /// The contents of one PT_NOTE segment each.
    pub notes: Vec<Vec<u8>>,
    /// Alignment of those segments.
    pub notes_align: u64,
    pub interpreter: bool,
}

impl Elf {
    pub fn new64(entry: u64, loads: Vec<Load>) -> Self {
        Self {
            bits: 64,
            big_endian: false,
            machine: 62,
            kind: 2,
            entry,
            loads,
            notes: Vec::new(),
            notes_align: 4,
            interpreter: false,
        }
    }

    pub fn new32(entry: u64, loads: Vec<Load>) -> Self {
        Self { bits: 32, machine: 3, ..Self::new64(entry, loads) }
    }

    /// A 64-bit Linux kernel: text linked at -2 GiB + 16 MiB, entry by physical address, per-CPU data linked at 0.
    pub fn linux(text: Vec<u8>) -> Self {
        let loads = vec![
            Load { virt: 0xffff_ffff_8100_0000, phys: 0x100_0000, memsz: text.len() as u64, bytes: text },
            Load { virt: 0, phys: 0x120_0000, memsz: 0x3000, bytes: vec![0xcc; 0x1000] },
            Load { virt: 0xffff_ffff_8130_0000, phys: 0x130_0000, memsz: 0x4_2345, bytes: vec![0xdd; 0x2_0000] },
        ];
        Self::new64(0x100_0000, loads)
    }

    pub fn with_note(mut self, name: &[u8], kind: u32, desc: &[u8]) -> Self {
        self.notes.push(note(name, kind, desc));
        self
    }

    pub fn with_pvh_note(self, entry: u32) -> Self {
        self.with_note(b"Xen\0", 18, &entry.to_le_bytes())
    }

    pub fn build(&self) -> Vec<u8> {
        let order = |mut bytes: Vec<u8>| {
            if self.big_endian {
                bytes.reverse();
            }
            bytes
        };
        let half = |v: u16| order(v.to_le_bytes().to_vec());
        let word = |v: u32| order(v.to_le_bytes().to_vec());
        let addr = |v: u64| match self.bits {
            64 => order(v.to_le_bytes().to_vec()),
            _ => order((v as u32).to_le_bytes().to_vec()),
        };
        let (header_len, entry_len) = if self.bits == 64 { (64, 56) } else { (52, 32) };
        let count = self.loads.len() + self.notes.len() + usize::from(self.interpreter);
        let mut offset = (header_len + count * entry_len) as u64;

        let mut file = b"\x7fELF".to_vec();
        file.extend([if self.bits == 64 { 2 } else { 1 }, if self.big_endian { 2 } else { 1 }, 1]);
        file.resize(16, 0);
        file.extend(half(self.kind));
        file.extend(half(self.machine));
        file.extend(word(1));
        file.extend(addr(self.entry));
        file.extend(addr(header_len as u64));
        file.extend(addr(0));
        file.extend(word(0));
        for field in [header_len, entry_len, count, 0, 0, 0] {
            file.extend(half(field as u16));
        }

        let mut contents = Vec::new();
        let mut segment = |kind: u32, virt: u64, phys: u64, bytes: &[u8], memsz: u64, align: u64| {
            let flags = 7;
            file.extend(word(kind));
            if self.bits == 64 {
                file.extend(word(flags));
            }
            for field in [offset, virt, phys, bytes.len() as u64, memsz] {
                file.extend(addr(field));
            }
            if self.bits == 32 {
                file.extend(word(flags));
            }
            file.extend(addr(align));
            contents.extend_from_slice(bytes);
            offset += bytes.len() as u64;
        };
        for load in &self.loads {
            segment(1, load.virt, load.phys, &load.bytes, load.memsz, 4);
        }
        for notes in &self.notes {
            segment(4, 0, 0, notes, notes.len() as u64, self.notes_align);
        }
        if self.interpreter {
            segment(3, 0, 0, b"/lib64/ld-linux-x86-64.so.2\0", 28, 1);
        }
        file.extend(contents);
        file
    }
}

/// One ELF note, its parts padded to 4 bytes.
pub fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for field in [name.len() as u32, desc.len() as u32, kind] {
        note.extend(field.to_le_bytes());
    }
    for part in [name, desc] {
        note.extend_from_slice(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// A multiboot header; `addresses` are header, load, load end, bss end and entry.
pub fn multiboot_header(flags: u32, addresses: Option<[u32; 5]>) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, checksum].into_iter().chain(addresses.into_iter().flatten()).flat_map(u32::to_le_bytes).collect()
}
