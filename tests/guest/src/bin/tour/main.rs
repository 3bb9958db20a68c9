//! The tour: what natoma boots when it is given neither kernel nor disk.
//!
//! It finds its way through the machine as drivers would, says on the first serial port what it sees, checks what can be
//! checked, and powers off. What is missing is said to be missing, and the tour goes on. Every check ends in "ok" or
//! "FAIL", and the closing lines count them.

#![no_std]
#![no_main]

extern crate alloc;

mod clocks;
mod devices;
mod interrupts;
mod memory;
mod processors;

use core::fmt;

use guest::{
    acpi::Acpi, exit, hpet::Hpet, kvmclock::KvmClock, lapic::LocalApic, platform::Platform, pm_timer::PmTimer, println,
    tsc,
};

guest::pvh_note!("pvh_start");
guest::program!(main);

/// How long to wait for what should happen soon, in TSC ticks: seconds at any rate that there is.
const PATIENCE: u64 = 1 << 33;

/// What there is, found before the tour begins.
struct Machine {
    acpi: Option<Acpi>,
    platform: Option<Platform>,
    local_apic: Option<LocalApic>,
    kvm_clock: Option<KvmClock>,
    hpet: Option<Hpet>,
    pm_timer: Option<PmTimer>,
}

impl Machine {
    fn find() -> Self {
        let acpi = Acpi::find();
        let platform = Platform::find(acpi.as_ref());
        // Ids that don't fit into 8 bits, or that mean "all" there, take x2APIC mode.
        let wide = platform.is_some_and(|platform| platform.processors().any(|id| id >= 0xff));
        Self {
            local_apic: if wide { LocalApic::enable_x2apic() } else { LocalApic::enable() },
            kvm_clock: KvmClock::find(),
            hpet: acpi.as_ref().and_then(Hpet::find),
            pm_timer: acpi.and_then(|acpi| PmTimer::find(&acpi.fadt()?)),
            acpi,
            platform,
        }
    }
}

/// Counts what was checked.
#[derive(Default)]
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Takes note of a check. What it returns is for the end of the line.
    fn check(&mut self, passed: bool) -> &'static str {
        let (count, word) = if passed { (&mut self.passed, "ok") } else { (&mut self.failed, "FAIL") };
        *count += 1;
        word
    }
}

/// A number of bytes, in the largest unit that leaves none over.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
        let unit = (self.0.trailing_zeros() / 10).min(3);
        write!(f, "{:>8} {}", self.0 >> (10 * unit), UNITS[unit as usize])
    }
}

fn main() {
    let begin = tsc::now();
    let machine = Machine::find();
    let mut report = Report::default();
    println!("natoma's built-in guest: a tour of the machine, for want of a kernel or a disk.");
    memory::show(&mut report);
    devices::show_pci(&mut report);
    devices::show_acpi(&machine, &mut report);
    let rate = clocks::show(&machine, &mut report);
    let others = processors::show(&machine, rate, &mut report);
    interrupts::show(&machine, rate, &others, &mut report);

    let Report { passed, failed } = report;
    println!();
    match failed {
        0 => println!("All {passed} checks passed."),
        _ => println!("{failed} of {} checks failed: look for FAIL above.", passed + failed),
    }
    if let Some(rate) = rate {
        println!("The tour took {} ms.", rate.nanoseconds(tsc::since(begin)) / 1_000_000);
    }
    println!("To boot a kernel of yours: natoma -nographic -kernel vmlinuz -append console=ttyS0");
    println!("Powering off.");
    exit::power_off()
}
