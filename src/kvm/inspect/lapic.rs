//! `info lapic`: a local APIC, laid out as QEMU lays it out (registers: Intel SDM volume 3, chapter 11).

use std::fmt;

use kvm_bindings::kvm_lapic_state;

/// Offsets of registers.
mod reg {
    pub const TPR: usize = 0x80;
    pub const APR: usize = 0x90;
    pub const PPR: usize = 0xa0;
    pub const LDR: usize = 0xd0;
    pub const DFR: usize = 0xe0;
    pub const SVR: usize = 0xf0;
    pub const ISR: usize = 0x100;
    pub const TMR: usize = 0x180;
    pub const IRR: usize = 0x200;
    pub const ESR: usize = 0x280;
    pub const ICR: usize = 0x300;
    pub const ICR2: usize = 0x310;
    pub const LVT_TIMER: usize = 0x320;
    pub const LVT_THERMAL: usize = 0x330;
    pub const LVT_PERFORMANCE: usize = 0x340;
    pub const LVT_LINT0: usize = 0x350;
    pub const LVT_LINT1: usize = 0x360;
    pub const LVT_ERROR: usize = 0x370;
    pub const INITIAL_COUNT: usize = 0x380;
    pub const CURRENT_COUNT: usize = 0x390;
    pub const DIVIDE: usize = 0x3e0;
}

/// Delivery modes.
const DELIVERY: [&str; 8] = ["Fixed", "...", "SMI", "...", "NMI", "INIT", "...", "ExtINT"];
const SHORTHANDS: [&str; 4] = ["no-shorthand", "self", "all-self", "all"];

/// The registers of a local APIC.
pub(super) struct LocalApic {
    /// Whose it is.
    pub cpu: u32,
    /// They themselves.
    pub state: kvm_lapic_state,
}

impl LocalApic {
    fn register(&self, offset: usize) -> u32 {
        let bytes = std::array::from_fn(|byte| self.state.regs[offset + byte].cast_unsigned());
        u32::from_le_bytes(bytes)
    }

    fn bit(&self, first: usize, vector: usize) -> bool {
        self.register(first + vector / 32 * 0x10) >> (vector % 32) & 1 != 0
    }

    fn vector_entry(&self, f: &mut fmt::Formatter<'_>, name: &str, offset: usize) -> fmt::Result {
        let entry = self.register(offset);
        let is = |bit: u32, yes: &'static str, no: &'static str| if entry >> bit & 1 != 0 { yes } else { no };
        let timer = match entry >> 17 & 3 {
            _ if offset != reg::LVT_TIMER => "",
            0 => "one-shot",
            2 => "tsc-deadline",
            _ => "periodic",
        };
        let delivery = DELIVERY[(entry >> 8 & 7) as usize];
        write!(
            f,
            "{name}\t {entry:#010x} {} {:<5} {:<6} {:<7} {timer:<12} {delivery:<6}",
            is(13, "active-lo", "active-hi"),
            is(15, "level", "edge"),
            is(16, "masked", ""),
            is(12, "pending", ""),
        )?;
        if delivery == "NMI" { writeln!(f) } else { writeln!(f, " (vec {})", entry & 0xff) }
    }

    fn interrupt_command(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.register(reg::ICR), self.register(reg::ICR2));
        let is = |bit: u32, yes: &'static str, no: &'static str| if low >> bit & 1 != 0 { yes } else { no };
        let shorthand = (low >> 18 & 3) as usize;
        let (mode, trigger, level) =
            (is(11, "logical", "physical"), is(15, "level", "edge"), is(14, "assert", "de-assert"));
        writeln!(f, "ICR\t {low:#010x} {mode} {trigger} {level} {}", SHORTHANDS[shorthand])?;
        write!(f, "ICR2\t {high:#010x}")?;
        let destination = high >> 24;
        match (shorthand, mode, self.destination_format()) {
            (0, "physical", _) => write!(f, " cpu {destination} (APIC ID)")?,
            (0, _, 0xf) => write!(f, " mask {destination:08b} (APIC ID)")?,
            (0, _, 0) => write!(f, " cluster {} mask {:04b} (APIC ID)", destination >> 4, destination & 0xf)?,
            _ => {}
        }
        writeln!(f)
    }

    /// The model in the Destination Format Register: 15 is flat, 0 cluster.
    fn destination_format(&self) -> u32 {
        self.register(reg::DFR) >> 28
    }

    fn vectors(&self, f: &mut fmt::Formatter<'_>, name: &str, first: usize) -> fmt::Result {
        write!(f, "{name}\t ")?;
        let mut any = false;
        for vector in (0..256).filter(|vector| self.bit(first, *vector)) {
            any = true;
            write!(f, "{vector}{} ", if self.bit(reg::TMR, vector) { "(level)" } else { "" })?;
        }
        writeln!(f, "{}", if any { "" } else { "(none)" })
    }
}

impl fmt::Display for LocalApic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dumping local APIC state for CPU {:<2}\n", self.cpu)?;
        for (name, offset) in [
            ("LVT0", reg::LVT_LINT0),
            ("LVT1", reg::LVT_LINT1),
            ("LVTPC", reg::LVT_PERFORMANCE),
            ("LVTERR", reg::LVT_ERROR),
            ("LVTTHMR", reg::LVT_THERMAL),
            ("LVTT", reg::LVT_TIMER),
        ] {
            self.vector_entry(f, name, offset)?;
        }
        let divide = self.register(reg::DIVIDE) & 0xb;
        let divider = match divide >> 1 & 4 | divide & 3 {
            7 => 1,
            exponent => 2 << exponent,
        };
        writeln!(
            f,
            "Timer\t DCR={divide:#x} (divide by {divider}) initial_count = {} current_count = {}",
            self.register(reg::INITIAL_COUNT),
            self.register(reg::CURRENT_COUNT)
        )?;
        let spurious = self.register(reg::SVR);
        let enabled = if spurious & 0x100 != 0 { "enabled" } else { "disabled" };
        let focus = if spurious & 0x200 != 0 { "on" } else { "off" };
        writeln!(f, "SPIV\t {spurious:#010x} APIC {enabled}, focus={focus}, spurious vec {}", spurious & 0xff)?;
        self.interrupt_command(f)?;
        writeln!(f, "ESR\t {:#010x}", self.register(reg::ESR))?;
        self.vectors(f, "ISR", reg::ISR)?;
        self.vectors(f, "IRR", reg::IRR)?;
        let (format, logical) = (self.destination_format(), self.register(reg::LDR) >> 24);
        let [apr, tpr, ppr] = [reg::APR, reg::TPR, reg::PPR].map(|offset| self.register(offset) & 0xff);
        write!(f, "\nAPR {apr:#04x} TPR {tpr:#04x} DFR {format:#04x} LDR {logical:#04x}")?;
        if format == 0 {
            write!(f, "(cluster {}: id {})", logical >> 4, logical & 0xf)?;
        }
        writeln!(f, " PPR {ppr:#04x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apic(registers: &[(usize, u32)]) -> String {
        let mut state = kvm_lapic_state::default();
        for (offset, value) in registers {
            for (place, byte) in state.regs[*offset..].iter_mut().zip(value.to_le_bytes()) {
                *place = byte.cast_signed();
            }
        }
        LocalApic { cpu: 0, state }.to_string()
    }

    /// The form of QEMU 7.2's lines, but for the x2APIC form of a destination.
    #[test]
    fn looks_like_qemus() {
        let text = apic(&[
            (0x350, 0x0001_0700),
            (0x360, 0x0000_0400),
            (0x340, 0x0001_0000),
            (0x370, 0x0000_00fe),
            (0x330, 0x0001_0000),
            (0x320, 0x0002_00ec),
            (0x3e0, 3),
            (0x380, 62463),
            (0x390, 37321),
            (0x0f0, 0x1ff),
            (0x300, 0x0000_00fd),
            (0x310, 0x0100_0000),
            (0x270, 1 << 15),
            (0x1f0, 1 << 15),
            (0x0e0, u32::MAX),
            (0x0d0, 0x0100_0000),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["dumping local APIC state for CPU 0 ", ""]);
        assert_eq!(lines[2], "LVT0\t 0x00010700 active-hi edge  masked                      ExtINT (vec 0)");
        assert_eq!(lines[3], "LVT1\t 0x00000400 active-hi edge                              NMI   ");
        assert_eq!(lines[7], "LVTT\t 0x000200ec active-hi edge                 periodic     Fixed  (vec 236)");
        assert_eq!(lines[8], "Timer\t DCR=0x3 (divide by 16) initial_count = 62463 current_count = 37321");
        assert_eq!(lines[9], "SPIV\t 0x000001ff APIC enabled, focus=off, spurious vec 255");
        assert_eq!(lines[10], "ICR\t 0x000000fd physical edge de-assert no-shorthand");
        assert_eq!(lines[11], "ICR2\t 0x01000000 cpu 1 (APIC ID)");
        assert_eq!(lines[12..15], ["ESR\t 0x00000000", "ISR\t (none)", "IRR\t 239(level) "]);
        assert_eq!(lines[16], "APR 0x00 TPR 0x00 DFR 0x0f LDR 0x01 PPR 0x00");
    }

    #[test]
    fn destinations_and_dividers_are_spelt_out() {
        let text = apic(&[(0x300, 0x800), (0x310, 0x2300_0000), (0x0d0, 0x1200_0000), (0x3e0, 0xb)]);
        assert!(text.contains("ICR2\t 0x23000000 cluster 2 mask 0011 (APIC ID)"), "{text}");
        assert!(text.contains("LDR 0x12(cluster 1: id 2)") && text.contains("(divide by 1)"), "{text}");
        let text = apic(&[(0x300, 0x800), (0x310, 0x0500_0000), (0x0e0, u32::MAX)]);
        assert!(text.contains("ICR2\t 0x05000000 mask 00000101 (APIC ID)"), "{text}");
        let text = apic(&[(0x300, 0xc_4500)]);
        assert!(text.contains("physical edge assert all\n") && text.contains("ICR2\t 0x00000000\n"), "{text}");
    }
}
