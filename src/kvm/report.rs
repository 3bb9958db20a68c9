//! What is told about a vCPU that can't go on.

use std::fmt::{self, Write};

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;

use super::address_space::AddressSpace;
use super::disassembly::instruction;

/// Code bytes shown from RIP on.
const CODE_LEN: usize = 32;
/// Instructions disassembled from RIP on.
const INSTRUCTIONS: usize = 4;

const CR0_PE: u64 = 1 << 0;
const CR0_PG: u64 = 1 << 31;
const EFER_LMA: u64 = 1 << 10;

/// The state of a vCPU at the moment it failed, with the reason. Its `Display` is meant for people.
#[derive(Debug)]
pub struct Report {
    /// Number of the vCPU.
    pub vcpu: u32,
    /// What happened, and what to do about it.
    pub reason: String,
    state: Option<(kvm_regs, kvm_sregs)>,
    code: Vec<u8>,
}

impl Report {
    /// Takes the state of `fd`.
    #[must_use]
    pub fn new(vcpu: u32, fd: &VcpuFd, space: &AddressSpace, reason: impl Into<String>) -> Self {
        let state = fd.get_regs().ok().zip(fd.get_sregs().ok());
        let code =
            state.map(|(regs, sregs)| fetch(fd, space, sregs.cs.base.wrapping_add(regs.rip))).unwrap_or_default();
        Self { vcpu, reason: reason.into(), state, code }
    }
}

/// Reads code at a linear address, up to the first page that is not present.
fn fetch(fd: &VcpuFd, space: &AddressSpace, linear: u64) -> Vec<u8> {
    let mut code = Vec::with_capacity(CODE_LEN);
    while code.len() < CODE_LEN {
        let at = linear.wrapping_add(code.len() as u64);
        let Some(physical) = fd.translate_gva(at).ok().filter(|t| t.valid != 0).map(|t| t.physical_address) else {
            break;
        };
        // Code in a device is not looked at: reading may have side effects.
        if space.slots.find(physical).is_none() {
            break;
        }
        let mut piece = vec![0; (CODE_LEN - code.len()).min(0x1000 - (at & 0xfff) as usize)];
        space.read(physical, &mut piece);
        code.extend(piece);
    }
    code
}

/// Bits of the code that a processor runs now.
pub(super) fn bitness(sregs: &kvm_sregs) -> u32 {
    if sregs.efer & EFER_LMA != 0 && sregs.cs.l != 0 {
        64
    } else if sregs.cs.db != 0 {
        32
    } else {
        16
    }
}

fn mode(sregs: &kvm_sregs) -> &'static str {
    match (sregs.cr0 & CR0_PE != 0, sregs.cr0 & CR0_PG != 0, bitness(sregs)) {
        (false, ..) => "real mode",
        (true, _, 64) => "64-bit mode",
        (true, false, _) => "protected mode without paging",
        (true, true, _) if sregs.efer & EFER_LMA != 0 => "compatibility mode",
        (true, true, _) => "protected mode with paging",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CPU {}: {}", self.vcpu, self.reason)?;
        let Some((regs, sregs)) = &self.state else {
            return writeln!(f, "  (its registers can't be read)");
        };
        writeln!(f, "  {}, privilege level {}", mode(sregs), sregs.ss.dpl)?;
        registers(f, regs, sregs)?;
        disassembly(f, &self.code, bitness(sregs), regs.rip)
    }
}

fn registers(f: &mut fmt::Formatter<'_>, regs: &kvm_regs, sregs: &kvm_sregs) -> fmt::Result {
    let general = [
        ("RAX", regs.rax),
        ("RBX", regs.rbx),
        ("RCX", regs.rcx),
        ("RDX", regs.rdx),
        ("RSI", regs.rsi),
        ("RDI", regs.rdi),
        ("RBP", regs.rbp),
        ("RSP", regs.rsp),
        ("R8 ", regs.r8),
        ("R9 ", regs.r9),
        ("R10", regs.r10),
        ("R11", regs.r11),
        ("R12", regs.r12),
        ("R13", regs.r13),
        ("R14", regs.r14),
        ("R15", regs.r15),
        ("RIP", regs.rip),
        ("RFL", regs.rflags),
        ("CR0", sregs.cr0),
        ("CR2", sregs.cr2),
        ("CR3", sregs.cr3),
        ("CR4", sregs.cr4),
        ("EFER", sregs.efer),
    ];
    for row in general.chunks(4) {
        let cells: Vec<_> = row.iter().map(|(name, value)| format!("{name}={value:016x}")).collect();
        writeln!(f, "  {}", cells.join(" "))?;
    }
    let segment = |f: &mut fmt::Formatter<'_>, name: &str, s: &kvm_segment| {
        writeln!(
            f,
            "  {name} ={:04x} base={:016x} limit={:08x} type={:x} s={} dpl={} p={} l={} db={}",
            s.selector, s.base, s.limit, s.type_, s.s, s.dpl, s.present, s.l, s.db
        )
    };
    segment(f, "CS", &sregs.cs)?;
    segment(f, "SS", &sregs.ss)?;
    segment(f, "DS", &sregs.ds)?;
    segment(f, "ES", &sregs.es)?;
    segment(f, "FS", &sregs.fs)?;
    segment(f, "GS", &sregs.gs)?;
    segment(f, "TR", &sregs.tr)?;
    writeln!(
        f,
        "  GDT base={:016x} limit={:04x}  IDT base={:016x} limit={:04x}",
        sregs.gdt.base, sregs.gdt.limit, sregs.idt.base, sregs.idt.limit
    )
}

fn disassembly(f: &mut fmt::Formatter<'_>, code: &[u8], bitness: u32, rip: u64) -> fmt::Result {
    if code.is_empty() {
        return writeln!(f, "  (no code at RIP: the page is not present)");
    }
    let mut hex = String::new();
    for byte in code {
        write!(hex, " {byte:02x}")?;
    }
    writeln!(f, "  code{hex}")?;
    let (mut code, mut address) = (code, rip);
    for _ in 0..INSTRUCTIONS {
        if code.is_empty() {
            break;
        }
        let (text, len) = instruction(code, bitness, address);
        writeln!(f, "  {address:016x}  {text}")?;
        (code, address) = (&code[len..], address.wrapping_add(len as u64));
    }
    Ok(())
}
