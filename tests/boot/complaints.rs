//! What the guest's kernel complains about.
//!
//! The reference is QEMU 7.2: what the same kernel says there on its `pc` is no complaint about the machine.

/// What a message of any level says when a driver is not content. Many such messages are below the level of a warning.
const COMPLAINTS: &[&str] = &[
    "[firmware bug]",
    "[firmware info]",
    "[firmware warn]",
    "bios bug",
    "bios error",
    "buggy",
    "broken",
    "can't",
    "cannot",
    "conflict",
    "corrupt",
    "could not",
    "error",
    "fail",
    "inconsistent",
    "invalid",
    "lost",
    "mismatch",
    "missing",
    "no compatible bridge window",
    "no controller",
    "no gsi",
    "no irq",
    "no ps/2 controller",
    "nobody cared",
    "not found",
    "not functional",
    "not present",
    "not responding",
    "out of range",
    "report a bug",
    "skew",
    "spurious",
    "stuck",
    "timed out",
    "timeout",
    "too ",
    "unable",
    "unexpected",
    "unhandled",
    "unknown header",
    "unstable",
    "unsupported",
    "warning",
    "wrong",
];

/// What this kernel says under QEMU, too, and why.
const ALSO_UNDER_QEMU: &[&str] = &[
    // Of the kernel's configuration: it has no network, no frequency scaling, no PCI Express.
    "ACPI: Failed to create genetlink family for ACPI event",
    "Warning: Processor Platform Limit event detected, but not handled.",
    "Consider compiling CPUfreq support into your kernel.",
    // The usual advice on every PC whose host bridge is described by ACPI.
    "PCI: Using host bridge windows from ACPI; if necessary, use \"pci=nocrs\" and report a bug",
    // The TSC of a CPU model that does not promise an invariant one, on more than one processor.
    "tsc: Marking TSC unstable due to TSCs unsynchronized",
    // The invariant TSC of an AMD processor on a host whose KVM does not let its HWCR say so.
    "[Firmware Bug]: TSC doesn't count with P0 frequency!",
    // How many instructions it takes to calibrate the local APIC's timer where they are interpreted.
    "APIC calibration not consistent with PM-Timer:",
    // How late a busy host runs the guest, which then is behind with the ticks that stand in for the RTC's interrupt.
    "hpet: Lost ",
    // Likewise: the guest stood still for most of a second between two readings of its clocks.
    "clocksource: Long readout interval, skipping watchdog check:",
    // Likewise: so few of its ticks came in time that it found the local APIC's timer wrong by the PM timer's measure.
    "APIC timer disabled due to verification failure",
    "Clockevents: could not switch to one-shot mode: lapic is not functional.",
    // What is on the command line for the sake of slow hosts.
    "FSGSBASE disabled via kernel command line",
    "Unknown kernel command line parameters \"noxsave\"",
];

/// What it says under QEMU with `-no-acpi`, too.
pub const WITHOUT_ACPI: &[&str] =
    &["ACPI BIOS Error (bug): A valid RSDP was not found", "i8042: PNP: No PS/2 controller"];

/// The messages of a kernel log, as `dmesg -r` prints it, that complain about something, but for some that are expected.
pub fn complaints<'a>(log: &'a str, expected: &[&str]) -> Vec<&'a str> {
    log.lines().filter(|line| is_complaint(line, expected)).collect()
}

fn is_complaint(line: &str, expected: &[&str]) -> bool {
    // "<6>[    0.000000] text"; a line without level belongs to the one before.
    let Some((level, message)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>')) else { return false };
    // The upper bits are the facility. 0 to 4 are emergency, alert, critical, error and warning.
    let warning = level.parse::<u32>().is_ok_and(|level| level & 7 <= 4);
    let text = message.split_once("] ").map_or(message, |(_, text)| text);
    if ALSO_UNDER_QEMU.iter().chain(expected).any(|usual| text.starts_with(usual)) {
        return false;
    }
    if text.trim().is_empty() {
        // The end of a line that was written in pieces, with another processor's message between them.
        return false;
    }
    let text = text.to_lowercase();
    warning || COMPLAINTS.iter().any(|complaint| text.contains(complaint))
}

#[test]
fn complaints_are_told_from_other_messages() {
    let log = "<6>[    0.000000] x2apic enabled\n\
               <4>[    0.100000] APIC calibration not consistent with PM-Timer: 97ms instead of 100ms\n\
               <3>[    0.200000] ACPI BIOS Error (bug): A valid RSDP was not found (20220331/tbxfroot-210)\n\
               <6>[    0.300000] i8042: No controller found\n\
               <6>[    0.350000] i8042: PNP: No PS/2 controller found.\n\
               <4>[    0.400000] hpet: something that no pattern knows\n\
               <4>[    0.450000] \n\
               <30>[    0.500000] a message of a daemon\n";
    let times = |expected| {
        let complaints = complaints(log, expected);
        complaints.iter().map(|line| &line["<n>[    ".len()..][.."0.123".len()]).collect::<Vec<_>>()
    };
    assert_eq!(times(&[]), ["0.200", "0.300", "0.350", "0.400"]);
    assert_eq!(times(WITHOUT_ACPI), ["0.300", "0.400"]);
}
