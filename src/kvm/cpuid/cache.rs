//! The caches that the guest is told about.
//!
//! Intel processors describe them in leaf 4 (and by one-byte descriptors in leaf 2), AMD's in leaves 8000_0005h,
//! 8000_0006h and, with TOPOEXT, 8000_001Dh in the format of leaf 4 (Intel SDM volume 2, CPUID; AMD APM volume 3,
//! appendix E). The sizes are QEMU's; nothing is measured on the host unless `host-cache-info=on` asks for it.

use super::leaves::Regs;

/// One cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Cache {
    kind: Kind,
    /// Level, from 1.
    level: u32,
    /// Size in KiB.
    kib: u32,
    ways: u32,
    /// Works without software setting it up.
    self_initializing: bool,
    /// EDX of leaf 4: bit 0 WBINVD may leave caches of other threads alone, bit 1 inclusive, bit 2 hashed index.
    flags: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data = 1,
    Instruction = 2,
    Unified = 3,
}

/// The caches of a processor.
#[derive(Debug, PartialEq, Eq)]
pub struct CacheSet {
    l1d: Cache,
    l1i: Cache,
    l2: Cache,
    l3: Cache,
    /// Descriptors for leaf 2 of L1 data, L1 instruction, L2 and L3. FFh sends the reader to leaf 4.
    descriptors: [u8; 4],
}

/// How many CPUs share the caches, as the guest's APIC ids tell it.
#[derive(Debug, Clone, Copy)]
pub struct Sharing {
    /// Threads of a core.
    pub threads: u32,
    /// Cores of a die.
    pub cores: u32,
    /// APIC ids reserved for a die.
    pub ids_per_die: u32,
}

/// Bytes in a line of every cache here.
const LINE: u32 = 64;

const fn l1d(kib: u32, ways: u32) -> Cache {
    Cache { kind: Kind::Data, level: 1, kib, ways, self_initializing: true, flags: 1 }
}

const fn l1i(kib: u32, ways: u32) -> Cache {
    Cache { kind: Kind::Instruction, level: 1, kib, ways, self_initializing: true, flags: 1 }
}

const fn l2(kib: u32, ways: u32) -> Cache {
    Cache { kind: Kind::Unified, level: 2, kib, ways, self_initializing: false, flags: 0 }
}

const fn l3(kib: u32) -> Cache {
    Cache { kind: Kind::Unified, level: 3, kib, ways: 16, self_initializing: true, flags: 0b110 }
}

/// What models without caches of their own show in Intel's leaves.
pub static LEGACY_INTEL: CacheSet = CacheSet {
    l1d: l1d(32, 8),
    l1i: l1i(32, 8),
    l2: Cache { kind: Kind::Unified, level: 2, kib: 4096, ways: 16, self_initializing: true, flags: 1 },
    l3: l3(16 << 10),
    // 7Dh says 2 MiB, unlike leaf 4: QEMU's guests have always seen both.
    descriptors: [0x2c, 0x30, 0x7d, 0x4d],
};

/// What models without caches of their own show in AMD's leaves.
pub static LEGACY_AMD: CacheSet = CacheSet {
    l1d: l1d(64, 2),
    l1i: l1i(64, 2),
    l2: l2(512, 16),
    l3: l3(16 << 10),
    descriptors: LEGACY_INTEL.descriptors,
};

/// First generation EPYC.
pub static EPYC: CacheSet = CacheSet {
    l1d: l1d(32, 8),
    l1i: l1i(64, 4),
    l2: l2(512, 8),
    l3: l3(8 << 10),
    descriptors: [0x2c, 0xff, 0x80, 0x4b],
};

/// Second generation EPYC.
pub static EPYC_ROME: CacheSet = CacheSet {
    l1d: l1d(32, 8),
    l1i: l1i(32, 8),
    l2: l2(512, 8),
    l3: l3(16 << 10),
    descriptors: [0x2c, 0x30, 0x80, 0x4d],
};

/// Third generation EPYC.
pub static EPYC_MILAN: CacheSet = CacheSet {
    l1d: l1d(32, 8),
    l1i: l1i(32, 8),
    l2: l2(512, 8),
    l3: l3(32 << 10),
    descriptors: [0x2c, 0x30, 0x80, 0xff],
};

impl Cache {
    /// The cache in the format of leaf 4, without what says who shares it.
    fn deterministic(&self) -> Regs {
        Regs {
            eax: self.kind as u32 | self.level << 5 | u32::from(self.self_initializing) << 8,
            ebx: (self.ways - 1) << 22 | (LINE - 1),
            ecx: self.kib * 1024 / LINE / self.ways - 1,
            edx: self.flags,
        }
    }

    /// The format of leaf 8000_0005h, ECX and EDX. One line per tag.
    fn amd_l1(&self) -> u32 {
        self.kib << 24 | self.ways << 16 | 1 << 8 | LINE
    }

    /// The lower half of leaf 8000_0006h, ECX and EDX: associativity by its code, one line per tag.
    fn amd_ways_and_line(&self) -> u32 {
        let code = match self.ways {
            8 => 6,
            16 => 8,
            ways => ways,
        };
        code << 12 | 1 << 8 | LINE
    }
}

impl CacheSet {
    /// Leaf 2: one-byte descriptors.
    #[must_use]
    pub fn descriptors(&self, with_l3: bool) -> Regs {
        let [l1d, l1i, l2, l3] = self.descriptors.map(u32::from);
        // AL: one query tells all.
        Regs { eax: 1, ebx: 0, ecx: if with_l3 { l3 } else { 0 }, edx: l1d << 16 | l1i << 8 | l2 }
    }

    /// Leaf 4, subleaf by subleaf.
    #[must_use]
    pub fn intel(&self, sharing: Sharing, with_l3: bool) -> Vec<Regs> {
        // Bits 31-26 of EAX hold at most 64 cores.
        let cores = sharing.cores.clamp(1, 64) - 1;
        let shared_by = |cache: &Cache, ids: u32| {
            let mut regs = cache.deterministic();
            regs.eax |= cores << 26 | (ids.clamp(1, 1 << 12) - 1) << 14;
            regs
        };
        let mut caches = vec![shared_by(&self.l1d, 1), shared_by(&self.l1i, 1), shared_by(&self.l2, sharing.threads)];
        if with_l3 {
            caches.push(shared_by(&self.l3, sharing.ids_per_die));
        }
        caches
    }

    /// Leaf 8000_0005h: TLBs, L1 data and instruction cache.
    #[must_use]
    pub fn amd_l1(&self) -> Regs {
        // Fully associative with 255 entries, for large and small pages, instructions and data.
        Regs { eax: 0x01ff_01ff, ebx: 0x01ff_01ff, ecx: self.l1d.amd_l1(), edx: self.l1i.amd_l1() }
    }

    /// Leaf 8000_0006h: second-level TLBs, L2 and L3 cache.
    #[must_use]
    pub fn amd_l2_l3(&self, with_l3: bool) -> Regs {
        Regs {
            eax: 0,
            // 512 entries, 4-way, for small pages only.
            ebx: 0x4200_4200,
            ecx: self.l2.kib << 16 | self.l2.amd_ways_and_line(),
            // L3 is given in units of 512 KiB.
            edx: if with_l3 { (self.l3.kib / 512) << 18 | self.l3.amd_ways_and_line() } else { 0 },
        }
    }

    /// Leaf 8000_001Dh, subleaf by subleaf.
    #[must_use]
    pub fn amd(&self, sharing: Sharing) -> Vec<Regs> {
        let shared_by = |cache: &Cache, cpus: u32| {
            let mut regs = cache.deterministic();
            regs.eax |= (cpus.clamp(1, 1 << 12) - 1) << 14;
            regs
        };
        let mut caches: Vec<Regs> =
            [&self.l1d, &self.l1i, &self.l2].map(|cache| shared_by(cache, sharing.threads)).into();
        caches.push(shared_by(&self.l3, sharing.threads.saturating_mul(sharing.cores)));
        caches
    }
}
