//! The smallest virtual machine that can show a quirk: 64 KiB, one vCPU, no devices, no interrupt controller.
//!
//! Memory (guest-physical; linear addresses are the same):
//!
//! | address | what |
//! |---|---|
//! | 1000-4fff | page tables; every page below 64 KiB is mapped, those from 8000 on for user mode |
//! | 5000 | GDT, and at 5800 the TSS |
//! | 6000 | IDT: the gate of vector v leads to `handler(v)` |
//! | 7000-77ff | a NOP and a HLT for each vector: where the vCPU halts tells what happened to it |
//! | 7800-7fff | code that ring 3 cannot execute |
//! | 8000-bfff | code under test, and data |
//! | c000-ffff | stack of ring 0, up to f000 |

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Error, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Bytes of memory.
pub const MEMORY: usize = 0x1_0000;
/// Where code under test goes.
pub const CODE: u64 = 0x8000;
/// Top of the stack of ring 0.
pub const STACK: u64 = 0xf000;
/// Where code goes that ring 3 cannot execute. A HLT at first.
pub const KERNEL: u64 = 0x7800;

/// A page beyond the memory, which tests can map elsewhere.
#[cfg(test)]
pub const HIGH_PAGE: u64 = MEMORY as u64;

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const PT: u64 = 0x4000;
const GDT: u64 = 0x5000;
const TSS: u64 = 0x5800;
const IDT: u64 = 0x6000;
const HANDLERS: u64 = 0x7000;
const USER_FROM: u64 = 0x8000;
const NOP: u8 = 0x90;
const HLT: u8 = 0xf4;

/// Selectors; SYSCALL's layout, with 8 in STAR's bits 47:32 and 0x1b in 63:48.
pub mod selector {
    /// 64-bit code of ring 0.
    pub const KERNEL_CODE: u16 = 0x08;
    /// Data of ring 0.
    pub const KERNEL_DATA: u16 = 0x10;
    /// 32-bit code of ring 3.
    #[cfg(test)]
    pub const USER_CODE32: u16 = 0x1b;
    /// Data of ring 3.
    pub const USER_DATA: u16 = 0x23;
    /// 64-bit code of ring 3.
    pub const USER_CODE: u16 = 0x2b;
    /// The TSS.
    pub const TASK: u16 = 0x30;
}

/// MSR numbers.
pub mod msr {
    /// Segment selectors of SYSCALL.
    pub const STAR: u32 = 0xc000_0081;
    /// Entry point of SYSCALL.
    pub const LSTAR: u32 = 0xc000_0082;
    /// RFLAGS bits that SYSCALL clears.
    pub const FMASK: u32 = 0xc000_0084;
}

/// A micro-VM, ready to run.
pub struct MicroVm {
    /// Its vCPU.
    pub vcpu: VcpuFd,
    /// Its memory.
    pub memory: GuestMemoryMmap,
}

/// Where the gate of `vector` leads.
#[must_use]
pub fn handler(vector: u8) -> u64 {
    HANDLERS + 8 * u64::from(vector)
}

impl MicroVm {
    /// Creates a micro-VM in 64-bit mode; `prepare` sees the VM before its vCPU is created.
    ///
    /// # Errors
    /// KVM's.
    pub fn new(kvm: &Kvm, prepare: impl FnOnce(&VmFd) -> Result<(), Error>) -> Result<Self, Error> {
        let memory =
            GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)]).map_err(|_| Error::new(libc::ENOMEM))?;
        let vm = kvm.create_vm()?;
        let host = memory.get_host_address(GuestAddress(0)).map_err(|_| Error::new(libc::EFAULT))?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: MEMORY as u64,
            userspace_addr: host.addr() as u64,
        };
        // SAFETY: the region is the mapping of `memory`, which outlives the vCPU, the last to hold the VM.
        unsafe { vm.set_user_memory_region(region)? };
        prepare(&vm)?;
        let vcpu = vm.create_vcpu(0)?;
        let micro = Self { vcpu, memory };
        micro.write_tables();
        let mut sregs = micro.vcpu.get_sregs()?;
        long_mode(&mut sregs);
        micro.vcpu.set_sregs(&sregs)?;
        Ok(micro)
    }

    /// Writes guest memory.
    ///
    /// # Panics
    /// If the range lies outside the memory.
    pub fn write(&self, address: u64, data: &[u8]) {
        self.memory.write_slice(data, GuestAddress(address)).expect("inside the micro-VM's memory");
    }

    /// Reads a word of guest memory.
    ///
    /// # Panics
    /// If it lies outside the memory.
    #[must_use]
    pub fn read_u64(&self, address: u64) -> u64 {
        self.memory.read_obj(GuestAddress(address)).expect("inside the micro-VM's memory")
    }

    fn write_words(&self, address: u64, words: impl IntoIterator<Item = u64>) {
        for (n, word) in (0..).zip(words) {
            self.write(address + 8 * n, &word.to_le_bytes());
        }
    }

    fn write_tables(&self) {
        const PRESENT_WRITABLE_USER: u64 = 7;
        self.write_words(PML4, [PDPT | PRESENT_WRITABLE_USER]);
        self.write_words(PDPT, [PD | PRESENT_WRITABLE_USER]);
        self.write_words(PD, [PT | PRESENT_WRITABLE_USER]);
        let page = |address: u64| address | if address >= USER_FROM { 7 } else { 3 };
        self.write_words(PT, (0..MEMORY as u64).step_by(0x1000).map(page));

        let code = 0x00af_9b00_0000_ffff;
        let data = 0x00cf_9300_0000_ffff;
        let ring3 = 3 << 45;
        let task = 0x0000_8b00_0000_0067 | TSS << 16;
        let code32 = 0x00cf_9b00_0000_ffff;
        self.write_words(GDT, [0, code, data, code32 | ring3, data | ring3, code | ring3, task, 0]);
        self.write(TSS + 4, &STACK.to_le_bytes());

        for vector in 0..=255 {
            let offset = handler(vector);
            let gate = offset & 0xffff | u64::from(selector::KERNEL_CODE) << 16 | 0xee00 << 32;
            self.write_words(IDT + 16 * u64::from(vector), [gate, 0]);
            self.write(offset, &[NOP, HLT]);
        }
        self.write(KERNEL, &[HLT]);
    }

    /// Maps `HIGH_PAGE`, which is beyond the memory, to a guest-physical page.
    #[cfg(test)]
    pub fn map_high_page(&self, gpa: u64) {
        self.write_words(PT + 8 * (HIGH_PAGE >> 12), [gpa | 7]);
    }

    /// Runs `code` in ring `ring` with `regs` until the vCPU halts or exits in another way.
    ///
    /// # Errors
    /// KVM's.
    pub fn run(&mut self, code: &[u8], ring: u8, regs: kvm_regs) -> Result<Stopped, Error> {
        self.set_ring(ring)?;
        let rsp = if ring == 0 { STACK } else { STACK - 0x1000 };
        self.vcpu.set_regs(&kvm_regs { rip: CODE, rsp, rflags: 2, ..regs })?;
        self.resume(code)
    }

    /// Goes to ring 0 or 3 of 64-bit mode, general registers as they are.
    ///
    /// # Errors
    /// KVM's.
    pub fn set_ring(&mut self, ring: u8) -> Result<(), Error> {
        let mut sregs = self.vcpu.get_sregs()?;
        sregs.cs = segment(if ring == 0 { selector::KERNEL_CODE } else { selector::USER_CODE }, true);
        sregs.ss = segment(if ring == 0 { selector::KERNEL_DATA } else { selector::USER_DATA }, false);
        self.vcpu.set_sregs(&sregs)
    }

    /// Goes to ring 0 of 32-bit protected mode without paging. The stack segment starts at `stack_base`; the top of the stack
    /// has the linear address `STACK` all the same. There is no way back to long mode.
    ///
    /// # Errors
    /// KVM's.
    pub fn enter_pm32(&mut self, stack_base: u32) -> Result<(), Error> {
        let flat = 0x00cf_0000_0000_ffff_u64;
        let base = (u64::from(stack_base) & 0x00ff_ffff) << 16 | (u64::from(stack_base) >> 24) << 56;
        self.write_words(GDT, [0, flat | 0x9b << 40, flat | 0x93 << 40 | base]);
        for vector in 0..=255 {
            let gate = handler(vector) | u64::from(selector::KERNEL_CODE) << 16 | 0x8e00 << 32;
            self.write_words(IDT + 8 * u64::from(vector), [gate]);
        }
        let mut sregs = self.vcpu.get_sregs()?;
        sregs.cr0 = 0x11;
        sregs.cr3 = 0;
        sregs.cr4 = 0;
        sregs.efer = 0;
        let data = segment(selector::KERNEL_DATA, false);
        sregs.cs = kvm_segment { l: 0, db: 1, ..segment(selector::KERNEL_CODE, true) };
        sregs.ss = kvm_segment { base: u64::from(stack_base), ..data };
        [sregs.ds, sregs.es, sregs.fs, sregs.gs] = [data; 4];
        self.vcpu.set_sregs(&sregs)?;
        let rsp = u64::from((STACK as u32).wrapping_sub(stack_base));
        self.vcpu.set_regs(&kvm_regs { rip: CODE, rsp, rflags: 2, ..Default::default() })
    }

    /// Writes `code` and runs the vCPU from where it is until it halts or exits in another way.
    ///
    /// # Errors
    /// KVM's.
    pub fn resume(&mut self, code: &[u8]) -> Result<Stopped, Error> {
        self.write(CODE, code);
        let exit = match self.vcpu.run()? {
            VcpuExit::Hlt => None,
            other => Some(format!("{other:?}")),
        };
        Ok(Stopped { regs: self.vcpu.get_regs()?, exit })
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Stopped {
    /// The registers.
    pub regs: kvm_regs,
    /// The exit, if it was not HLT.
    pub exit: Option<String>,
}

impl Stopped {
    /// True if the vCPU halted in the handler of `vector`.
    #[must_use]
    pub fn in_handler(&self, vector: u8) -> bool {
        self.halted_at(handler(vector) + 1)
    }

    /// True if the vCPU executed the HLT at `address`.
    #[must_use]
    pub fn halted_at(&self, address: u64) -> bool {
        self.exit.is_none() && self.regs.rip == address + 1
    }
}

fn segment(selector: u16, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: if code { 11 } else { 3 },
        present: 1,
        dpl: (selector & 3) as u8,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        ..Default::default()
    }
}

fn long_mode(sregs: &mut kvm_sregs) {
    sregs.cr0 = 0x8005_0033;
    sregs.cr3 = PML4;
    sregs.cr4 = 0x620;
    sregs.efer = 0xd01;
    sregs.gdt.base = GDT;
    sregs.gdt.limit = 0x3f;
    sregs.idt.base = IDT;
    sregs.idt.limit = 0xfff;
    sregs.tr =
        kvm_segment { base: TSS, limit: 0x67, selector: selector::TASK, type_: 11, present: 1, ..Default::default() };
    let data = segment(selector::KERNEL_DATA, false);
    [sregs.ss, sregs.ds, sregs.es, sregs.fs, sregs.gs] = [data; 5];
    sregs.cs = segment(selector::KERNEL_CODE, true);
}
