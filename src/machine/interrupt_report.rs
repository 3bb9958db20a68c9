//! The registers of the interrupt controllers as `info pic` shows them, in QEMU's form.

use std::fmt;

use anyhow::Result;
use devices::chipset::i8259::PicRegisters;
use devices::chipset::ioapic::IoapicRegisters;

/// What all interrupt controllers but the local APICs hold.
pub struct InterruptReport {
    /// The 8259 pair, the master first.
    pub pics: [PicRegisters; 2],
    /// The I/O APIC.
    pub ioapic: IoapicRegisters,
}

/// Reads them, whenever it is called.
pub type ReadInterrupts = Box<dyn Fn() -> Result<InterruptReport> + Send + Sync>;

/// Bits of a redirection entry.
const ACTIVE_LOW: u64 = 1 << 13;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
const LOGICAL: u64 = 1 << 11;

/// The first index of the redirection table.
const REDIRECTION: u8 = 0x10;

impl fmt::Display for InterruptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IoapicRegisters { version, id, selected, requests, entries } = &self.ioapic;
        write!(f, "ioapic0: ver={version:#04x} id={id:#04x} sel={selected:#04x}")?;
        match selected.checked_sub(REDIRECTION) {
            Some(index) => writeln!(f, " (redir[{}])", index / 2)?,
            None => writeln!(f)?,
        }
        for (pin, entry) in entries.iter().enumerate() {
            write_entry(f, pin, *entry)?;
        }
        write_pins(f, "  IRR", *requests)?;
        let remote = (0..).zip(entries).fold(0, |pins, (pin, entry)| pins | u32::from(entry & REMOTE_IRR != 0) << pin);
        write_pins(f, "  Remote IRR", remote)?;
        for (number, pic) in self.pics.iter().enumerate().rev() {
            let PicRegisters { irr, imr, isr, highest, vector_base, read_isr, elcr, special_fully_nested } = pic;
            let (read_isr, nested) = (u8::from(*read_isr), u8::from(*special_fully_nested));
            writeln!(
                f,
                "pic{number}: irr={irr:02x} imr={imr:02x} isr={isr:02x} hprio={highest} irq_base={vector_base:02x} \
                 rr_sel={read_isr} elcr={elcr:02x} fnm={nested}"
            )?;
        }
        Ok(())
    }
}

fn write_entry(f: &mut fmt::Formatter<'_>, pin: usize, entry: u64) -> fmt::Result {
    const DELIVERY: [&str; 8] = ["fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT"];
    let is = |bit, yes: &'static str, no: &'static str| if entry & bit != 0 { yes } else { no };
    // A physical destination of the data sheet has 4 bits.
    let destination = entry >> 56 & if entry & LOGICAL != 0 { 0xff } else { 0x0f };
    writeln!(
        f,
        "  pin {pin:<2} {entry:#018x} dest={destination:x} vec={:<3} {} {:<5} {:<6} {:<6} {}",
        entry & 0xff,
        is(ACTIVE_LOW, "active-lo", "active-hi"),
        is(LEVEL, "level", "edge"),
        is(MASKED, "masked", ""),
        DELIVERY[(entry >> 8 & 7) as usize],
        is(LOGICAL, "logical", "physical"),
    )
}

fn write_pins(f: &mut fmt::Formatter<'_>, name: &str, pins: u32) -> fmt::Result {
    write!(f, "{name:<10} ")?;
    if pins == 0 {
        return writeln!(f, "(none)");
    }
    (0..24).filter(|pin| pins >> pin & 1 != 0).try_for_each(|pin| write!(f, "{pin:<2} "))?;
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of QEMU 7.2.
    #[test]
    fn looks_like_qemus() {
        let pic = PicRegisters { vector_base: 0x08, imr: 0xb8, elcr: 0x0c, ..Default::default() };
        let mut entries = [0x1_0000; 24];
        entries[11] = 0x0300_0000_0000_d95a;
        let ioapic = IoapicRegisters { version: 0x20, id: 0, selected: 0x26, requests: 1 << 11, entries };
        let text = InterruptReport { pics: [pic, PicRegisters::default()], ioapic }.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "ioapic0: ver=0x20 id=0x00 sel=0x26 (redir[11])");
        assert_eq!(lines[1], "  pin 0  0x0000000000010000 dest=0 vec=0   active-hi edge  masked fixed  physical");
        assert_eq!(lines[12], "  pin 11 0x030000000000d95a dest=3 vec=90  active-hi level        lowest logical");
        assert_eq!(
            &lines[25..],
            [
                "  IRR      11 ",
                "  Remote IRR 11 ",
                "pic1: irr=00 imr=00 isr=00 hprio=0 irq_base=00 rr_sel=0 elcr=00 fnm=0",
                "pic0: irr=00 imr=b8 isr=00 hprio=0 irq_base=08 rr_sel=0 elcr=0c fnm=0",
            ]
        );
    }
}
