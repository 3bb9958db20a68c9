//! `info registers`: the registers of a processor, laid out as QEMU lays them out.

use std::fmt;

use anyhow::{Context, Result};
use kvm_bindings::{
    KVM_MP_STATE_HALTED, kvm_debugregs, kvm_dtable, kvm_fpu, kvm_mp_state, kvm_regs, kvm_segment, kvm_sregs,
    kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;

use crate::kvm::fallback::{VcpuState, XsaveArea};

const CR0_PE: u64 = 1 << 0;
const EFER_LMA: u64 = 1 << 10;
/// Components of XCR0: SSE and AVX, and with them the three of AVX-512.
const AVX: u64 = 0x06;
const AVX512: u64 = 0xe6;
/// Letters of the flags that QEMU shows, and their bits.
const FLAGS: [(char, u32); 7] = [('D', 10), ('O', 11), ('S', 7), ('Z', 6), ('A', 4), ('P', 2), ('C', 0)];

/// All registers of a processor.
pub(super) struct Registers {
    regs: kvm_regs,
    sregs: kvm_sregs,
    debug: kvm_debugregs,
    fpu: kvm_fpu,
    events: kvm_vcpu_events,
    state: kvm_mp_state,
    xcr0: u64,
    /// `None` if KVM has more of them than it can tell in the form that is asked for (AMX).
    vectors: Option<XsaveArea>,
}

impl Registers {
    pub(super) fn read(fd: &VcpuFd) -> Result<Self> {
        let mut vectors = XsaveArea::default();
        let known = fd.xsave(&mut vectors).is_ok();
        Ok(Self {
            regs: fd.get_regs().context("can't read the registers")?,
            sregs: fd.get_sregs().context("can't read the system registers")?,
            debug: fd.get_debug_regs().context("can't read the debug registers")?,
            fpu: fd.get_fpu().context("can't read the floating point registers")?,
            events: fd.get_vcpu_events().context("can't read what events are pending")?,
            state: fd.get_mp_state().context("can't read whether the processor is halted")?,
            xcr0: fd.xcr0().context("can't read XCR0")?,
            vectors: known.then_some(vectors),
        })
    }

    fn long_mode(&self) -> bool {
        self.sregs.efer & EFER_LMA != 0
    }

    /// In 64-bit mode proper.
    fn wide(&self) -> bool {
        self.long_mode() && self.sregs.cs.l != 0
    }

    fn general(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.regs;
        let flags: String =
            FLAGS.iter().map(|(letter, bit)| if r.rflags >> bit & 1 != 0 { *letter } else { '-' }).collect();
        let mode = format!(
            "[{flags}] CPL={} II={} A20=1 SMM={} HLT={}",
            self.sregs.ss.dpl,
            u8::from(self.events.interrupt.shadow != 0),
            self.events.smi.smm,
            u8::from(self.state.mp_state == KVM_MP_STATE_HALTED),
        );
        if !self.wide() {
            let [a, b, c, d] = [r.rax, r.rbx, r.rcx, r.rdx].map(|register| register as u32);
            writeln!(f, "EAX={a:08x} EBX={b:08x} ECX={c:08x} EDX={d:08x}")?;
            let [a, b, c, d] = [r.rsi, r.rdi, r.rbp, r.rsp].map(|register| register as u32);
            writeln!(f, "ESI={a:08x} EDI={b:08x} EBP={c:08x} ESP={d:08x}")?;
            return writeln!(f, "EIP={:08x} EFL={:08x} {mode}", r.rip as u32, r.rflags as u32);
        }
        let rows = [
            [("RAX", r.rax), ("RBX", r.rbx), ("RCX", r.rcx), ("RDX", r.rdx)],
            [("RSI", r.rsi), ("RDI", r.rdi), ("RBP", r.rbp), ("RSP", r.rsp)],
            [("R8 ", r.r8), ("R9 ", r.r9), ("R10", r.r10), ("R11", r.r11)],
            [("R12", r.r12), ("R13", r.r13), ("R14", r.r14), ("R15", r.r15)],
        ];
        for row in rows {
            writeln!(f, "{}", row.map(|(name, value)| format!("{name}={value:016x}")).join(" "))?;
        }
        writeln!(f, "RIP={:016x} RFL={:08x} {mode}", r.rip, r.rflags as u32)
    }

    fn segment(&self, f: &mut fmt::Formatter<'_>, name: &str, s: &kvm_segment) -> fmt::Result {
        let flags = u32::from(s.type_) << 8
            | u32::from(s.s) << 12
            | u32::from(s.dpl) << 13
            | u32::from(s.present != 0 && s.unusable == 0) << 15
            | u32::from(s.avl) << 20
            | u32::from(s.l) << 21
            | u32::from(s.db) << 22
            | u32::from(s.g) << 23;
        match self.wide() {
            true => write!(f, "{name:<3}={:04x} {:016x} {:08x} {flags:08x}", s.selector, s.base, s.limit)?,
            false => write!(f, "{name:<3}={:04x} {:08x} {:08x} {flags:08x}", s.selector, s.base as u32, s.limit)?,
        }
        if self.sregs.cr0 & CR0_PE == 0 || s.present == 0 || s.unusable != 0 {
            return writeln!(f);
        }
        let has = |bit: u8, letter: char| if s.type_ >> bit & 1 != 0 { letter } else { '-' };
        let kind = if s.s == 0 {
            system_type(s.type_, self.long_mode()).to_owned()
        } else if s.type_ >> 3 & 1 != 0 {
            let size = if s.l != 0 {
                "CS64"
            } else if s.db != 0 {
                "CS32"
            } else {
                "CS16"
            };
            format!("{size} [{}{}{}]", has(2, 'C'), has(1, 'R'), has(0, 'A'))
        } else {
            let size = if s.db != 0 || self.long_mode() { "DS  " } else { "DS16" };
            format!("{size} [{}{}{}]", has(2, 'E'), has(1, 'W'), has(0, 'A'))
        };
        writeln!(f, " DPL={} {kind}", s.dpl)
    }

    fn system(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.sregs;
        let long = self.long_mode();
        let table = |f: &mut fmt::Formatter<'_>, name: &str, table: &kvm_dtable| match long {
            true => writeln!(f, "{name}=     {:016x} {:08x}", table.base, table.limit),
            false => writeln!(f, "{name}=     {:08x} {:08x}", table.base as u32, table.limit),
        };
        table(f, "GDT", &s.gdt)?;
        table(f, "IDT", &s.idt)?;
        let (cr0, cr4) = (s.cr0 as u32, s.cr4 as u32);
        match long {
            true => writeln!(f, "CR0={cr0:08x} CR2={:016x} CR3={:016x} CR4={cr4:08x}", s.cr2, s.cr3)?,
            false => writeln!(f, "CR0={cr0:08x} CR2={:08x} CR3={:08x} CR4={cr4:08x}", s.cr2 as u32, s.cr3 as u32)?,
        }
        for (number, value) in self.debug.db.iter().enumerate() {
            write!(f, "DR{number}={value:016x} ")?;
        }
        writeln!(f, "\nDR6={:016x} DR7={:016x}", self.debug.dr6, self.debug.dr7)?;
        writeln!(f, "EFER={:016x}", s.efer)
    }

    fn floating_point(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kvm_fpu { fpr, fcw, fsw, ftwx, mxcsr, .. } = &self.fpu;
        let top = fsw >> 11 & 7;
        writeln!(f, "FCW={fcw:04x} FSW={fsw:04x} [ST={top}] FTW={ftwx:02x} MXCSR={mxcsr:08x}")?;
        for (number, register) in fpr.iter().enumerate() {
            let value = u128::from_le_bytes(*register);
            let end = if number % 2 == 1 { '\n' } else { ' ' };
            write!(f, "FPR{number}={:016x} {:04x}{end}", value as u64, (value >> 64) as u16)?;
        }
        Ok(())
    }

    /// Vector register `number`, or what is known of it.
    fn vector(&self, number: usize) -> [u8; 64] {
        if let Some(vectors) = &self.vectors {
            return vectors.vector(number);
        }
        let mut value = [0; 64];
        if let Some(xmm) = self.fpu.xmm.get(number) {
            value[..xmm.len()].copy_from_slice(xmm);
        }
        value
    }

    fn vectors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xcr0 = if self.vectors.is_some() { self.xcr0 } else { 0 };
        let (name, words, count) = match (xcr0, self.wide()) {
            (xcr0, wide) if xcr0 & AVX512 == AVX512 => ("ZMM", 8, if wide { 32 } else { 8 }),
            (xcr0, wide) if xcr0 & AVX == AVX => ("YMM", 4, if wide { 16 } else { 8 }),
            (_, wide) => ("XMM", 2, if wide { 16 } else { 8 }),
        };
        if let Some(vectors) = self.vectors.as_ref().filter(|_| name == "ZMM") {
            for number in 0..8 {
                let end = if number % 4 == 3 { '\n' } else { ' ' };
                write!(f, "Opmask{number:02}={:016x}{end}", vectors.opmask(number))?;
            }
        }
        for number in 0..count {
            let value = self.vector(number);
            let (parts, _) = value.as_chunks();
            let parts = parts[..words].iter().rev().map(|part| format!("{:016x}", u64::from_le_bytes(*part)));
            // Two of the short ones share a line.
            let end = if words > 2 || number % 2 == 1 { '\n' } else { ' ' };
            write!(f, "{name}{number:02}={}{end}", parts.collect::<Vec<_>>().join(" "))?;
        }
        Ok(())
    }
}

/// A register by the name that debuggers have for it. The 32-bit names tell all 64 bits in 64-bit mode, as in QEMU; `pc` is
/// the linear address of the next instruction.
pub(super) fn by_name(regs: &kvm_regs, sregs: &kvm_sregs, name: &str) -> Option<u64> {
    let segments = [
        ("cs", &sregs.cs),
        ("ds", &sregs.ds),
        ("es", &sregs.es),
        ("fs", &sregs.fs),
        ("gs", &sregs.gs),
        ("ss", &sregs.ss),
    ];
    for (segment, value) in segments {
        match name.strip_prefix(segment) {
            Some("") => return Some(value.selector.into()),
            Some(".base") => return Some(value.base),
            Some(".limit") => return Some(value.limit.into()),
            _ => {}
        }
    }
    Some(match name {
        "eax" | "rax" => regs.rax,
        "ebx" | "rbx" => regs.rbx,
        "ecx" | "rcx" => regs.rcx,
        "edx" | "rdx" => regs.rdx,
        "esi" | "rsi" => regs.rsi,
        "edi" | "rdi" => regs.rdi,
        "ebp" | "rbp" => regs.rbp,
        "esp" | "rsp" => regs.rsp,
        "r8" => regs.r8,
        "r9" => regs.r9,
        "r10" => regs.r10,
        "r11" => regs.r11,
        "r12" => regs.r12,
        "r13" => regs.r13,
        "r14" => regs.r14,
        "r15" => regs.r15,
        "eip" | "rip" => regs.rip,
        "pc" => sregs.cs.base.wrapping_add(regs.rip),
        "eflags" | "rflags" => regs.rflags,
        "cr0" => sregs.cr0,
        "cr2" => sregs.cr2,
        "cr3" => sregs.cr3,
        "cr4" => sregs.cr4,
        "efer" => sregs.efer,
        _ => return None,
    })
}

/// What a system descriptor of this type is.
fn system_type(kind: u8, long_mode: bool) -> &'static str {
    match (kind, long_mode) {
        (0, true) => "<hiword>",
        (2, _) => "LDT",
        (1, false) => "TSS16-avl",
        (3, false) => "TSS16-busy",
        (4, false) => "CallGate16",
        (5, false) => "TaskGate",
        (6, false) => "IntGate16",
        (7, false) => "TrapGate16",
        (9, false) => "TSS32-avl",
        (9, true) => "TSS64-avl",
        (11, false) => "TSS32-busy",
        (11, true) => "TSS64-busy",
        (12, false) => "CallGate32",
        (12, true) => "CallGate64",
        (14, false) => "IntGate32",
        (14, true) => "IntGate64",
        (15, false) => "TrapGate32",
        (15, true) => "TrapGate64",
        _ => "Reserved",
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.general(f)?;
        let kvm_sregs { es, cs, ss, ds, fs, gs, ldt, tr, .. } = &self.sregs;
        for (name, segment) in
            [("ES", es), ("CS", cs), ("SS", ss), ("DS", ds), ("FS", fs), ("GS", gs), ("LDT", ldt), ("TR", tr)]
        {
            self.segment(f, name, segment)?;
        }
        self.system(f)?;
        self.floating_point(f)?;
        self.vectors(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processor after power-on as KVM has it.
    fn reset() -> Registers {
        let data = kvm_segment { limit: 0xffff, type_: 3, present: 1, s: 1, ..Default::default() };
        let sregs = kvm_sregs {
            cs: kvm_segment { selector: 0xf000, base: 0xffff_0000, type_: 11, ..data },
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            tr: kvm_segment { limit: 0xffff, type_: 11, present: 1, ..Default::default() },
            ldt: kvm_segment { limit: 0xffff, type_: 2, present: 1, ..Default::default() },
            gdt: kvm_dtable { limit: 0xffff, ..Default::default() },
            idt: kvm_dtable { limit: 0xffff, ..Default::default() },
            cr0: 0x6000_0010,
            ..Default::default()
        };
        Registers {
            regs: kvm_regs { rip: 0xfff0, rflags: 2, rdx: 0x663, ..Default::default() },
            sregs,
            debug: kvm_debugregs { dr6: 0xffff_0ff0, dr7: 0x400, ..Default::default() },
            fpu: kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() },
            events: kvm_vcpu_events::default(),
            state: kvm_mp_state::default(),
            xcr0: 1,
            vectors: Some(XsaveArea::default()),
        }
    }

    #[test]
    fn registers_have_names() {
        let Registers { regs, sregs, .. } = reset();
        for (name, value) in [
            ("eip", Some(0xfff0)),
            ("rip", Some(0xfff0)),
            ("pc", Some(0xffff_fff0)),
            ("edx", Some(0x663)),
            ("cs", Some(0xf000)),
            ("cs.base", Some(0xffff_0000)),
            ("ds.limit", Some(0xffff)),
            ("cr0", Some(0x6000_0010)),
            ("cs.nope", None),
            ("", None),
        ] {
            assert_eq!(by_name(&regs, &sregs, name), value, "{name}");
        }
    }

    /// Lines of QEMU 7.2 for a machine that was not started.
    #[test]
    fn a_processor_in_real_mode_looks_like_qemus() {
        let text = reset().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663",
                "ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000",
                "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0",
                "ES =0000 00000000 0000ffff 00009300",
            ]
        );
        assert_eq!(lines[4], "CS =f000 ffff0000 0000ffff 00009b00");
        assert_eq!(lines[9..11], ["LDT=0000 00000000 0000ffff 00008200", "TR =0000 00000000 0000ffff 00008b00"]);
        assert_eq!(lines[11], "GDT=     00000000 0000ffff");
        assert_eq!(lines[13], "CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000");
        assert_eq!(
            lines[14..19],
            [
                "DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 ",
                "DR6=00000000ffff0ff0 DR7=0000000000000400",
                "EFER=0000000000000000",
                "FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80",
                "FPR0=0000000000000000 0000 FPR1=0000000000000000 0000",
            ]
        );
        assert_eq!(lines[22], "XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000");
        assert_eq!(lines.len(), 26);
    }

    /// Lines of QEMU 7.2 while Linux runs.
    #[test]
    fn a_processor_in_64_bit_mode_looks_like_qemus() {
        let mut state = reset();
        state.regs =
            kvm_regs { rax: 0xffff_ffff_8100_0000, r8: 8, rip: 0xffff_ffff_8180_0000, rflags: 0x246, ..state.regs };
        state.sregs.cr0 = 0x8005_0033;
        state.sregs.efer = 0xd01;
        state.sregs.cs = kvm_segment {
            selector: 0x10,
            limit: u32::MAX,
            type_: 11,
            present: 1,
            s: 1,
            l: 1,
            g: 1,
            ..Default::default()
        };
        state.sregs.ss = kvm_segment {
            selector: 0x18,
            limit: u32::MAX,
            type_: 3,
            present: 1,
            s: 1,
            db: 1,
            g: 1,
            ..Default::default()
        };
        state.sregs.ds = kvm_segment { unusable: 1, ..Default::default() };
        state.state.mp_state = KVM_MP_STATE_HALTED;
        let text = state.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "RAX=ffffffff81000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000663");
        assert_eq!(lines[2], "R8 =0000000000000008 R9 =0000000000000000 R10=0000000000000000 R11=0000000000000000");
        assert_eq!(lines[4], "RIP=ffffffff81800000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1");
        assert_eq!(lines[6], "CS =0010 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]");
        assert_eq!(lines[7], "SS =0018 0000000000000000 ffffffff 00c09300 DPL=0 DS   [-WA]");
        assert_eq!(lines[8], "DS =0000 0000000000000000 00000000 00000000");
        assert_eq!(lines[12], "TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy");
        assert_eq!(lines[13], "GDT=     0000000000000000 0000ffff");
        assert!(text.contains("XMM14="), "{text}");

        let mut area = XsaveArea::default();
        area.set_vector(1, &std::array::from_fn(|byte| if byte < 16 { byte as u8 } else { 0 }));
        (state.vectors, state.xcr0) = (Some(area), 0x7);
        let text = state.to_string();
        assert!(
            text.contains("\nYMM01=0000000000000000 0000000000000000 0f0e0d0c0b0a0908 0706050403020100\n"),
            "{text}"
        );
        assert!(text.contains("\nYMM15="), "{text}");
        // Where only the older half is known, it is shown.
        (state.vectors, state.fpu.xmm[1][0]) = (None, 0x5a);
        let text = state.to_string();
        assert!(text.contains(" XMM01=0000000000000000 000000000000005a\n"), "{text}");
    }
}
