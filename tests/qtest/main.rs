//! Scripts that drive the devices of the board as their drivers do, without processors.
//!
//! A script is a function over [`pc::Pc`] that walks through a data sheet. Each runs three times: on natoma's board in this
//! process, on natoma as a process by the qtest protocol, and on QEMU, where there is one; and the answers of both are compared.

mod client;
mod differ;
mod pc;
mod scripts;

use std::panic::{AssertUnwindSafe, catch_unwind};

use client::Process;
use differ::{Difference, Recorder, compare, obsolete};
use pc::{InProcess, Pc};

/// A walk through a device.
pub struct Script {
    /// Options of the machine, besides [`OPTIONS`].
    pub options: &'static [&'static str],
    /// The walk. Its assertions hold on natoma and, unless they stand behind a known difference, on QEMU.
    pub run: fn(&mut dyn Pc),
    /// Where natoma and QEMU differ, and why.
    pub differences: &'static [Difference],
}

/// Options of every machine: nothing that the script did not ask for, and a date that does not move by itself.
const OPTIONS: &[&str] =
    &["-machine", "pc", "-nodefaults", "-display", "none", "-rtc", "base=2026-03-04T05:06:07,clock=vm"];

fn options(script: &Script) -> Vec<&'static str> {
    [OPTIONS, script.options].concat()
}

fn in_process(script: &Script) {
    (script.run)(&mut InProcess::new(&options(script)));
}

fn process(script: &Script) {
    (script.run)(&mut Process::natoma(&options(script)));
}

/// Runs a script on both and fails where the answers differ. With `NATOMA_QTEST_TRANSCRIPT` all steps are shown.
fn like_qemu(script: &Script) {
    let Some(mut qemu) = Process::qemu(&options(script)) else { return };
    // Time passes on both or on neither.
    let mut natoma = Bounded { pc: InProcess::new(&options(script)), has_clock: qemu.has_clock() };
    let mut ours = Recorder::new(&mut natoma);
    (script.run)(&mut ours);
    let ours = ours.into_steps();
    let mut theirs = Recorder::new(&mut qemu);
    // A failed assertion is a difference too, and is told after those that led to it.
    let result = catch_unwind(AssertUnwindSafe(|| (script.run)(&mut theirs)));
    let theirs = theirs.into_steps();
    if std::env::var_os("NATOMA_QTEST_TRANSCRIPT").is_some() {
        theirs.iter().for_each(|step| eprintln!("{step}"));
    }
    let mut report = compare(&ours, &theirs, script.differences);
    report.extend(
        obsolete(&ours, &theirs, script.differences)
            .iter()
            .map(|known| format!("'{}: {}' is listed as a difference and is none", known.section, known.access)),
    );
    if result.is_err() {
        report.push("an assertion does not hold on QEMU".into());
    }
    assert!(report.is_empty(), "natoma and QEMU differ:\n{}", report.join("\n"));
}

/// A machine whose clock may not be used.
struct Bounded {
    pc: InProcess,
    has_clock: bool,
}

impl Pc for Bounded {
    fn input(&mut self, port: u16, size: usize) -> u32 {
        self.pc.input(port, size)
    }

    fn output(&mut self, port: u16, size: usize, value: u32) {
        self.pc.output(port, size, value);
    }

    fn read(&mut self, address: u64, data: &mut [u8]) {
        self.pc.read(address, data);
    }

    fn write(&mut self, address: u64, data: &[u8]) {
        self.pc.write(address, data);
    }

    fn is_natoma(&self) -> bool {
        true
    }

    fn has_clock(&self) -> bool {
        self.has_clock
    }

    fn clock_step(&mut self, ns: u64) {
        assert!(self.has_clock, "a script moves a clock that is not there");
        self.pc.clock_step(ns);
    }

    fn irq(&mut self, gsi: u32) -> bool {
        self.pc.irq(gsi)
    }
}

/// Makes three tests of each script.
macro_rules! scripts {
    ($($name:ident: $script:expr,)*) => {
        $(mod $name {
            #[test]
            fn in_process() {
                crate::in_process(&$script);
            }

            #[test]
            fn process() {
                crate::process(&$script);
            }

            #[test]
            fn like_qemu() {
                crate::like_qemu(&$script);
            }
        })*
    };
}

scripts! {
    debug_exit: crate::scripts::debug::DEBUG_EXIT,
    debugcon: crate::scripts::debug::DEBUGCON,
    boot_once: crate::scripts::fw_cfg::BOOT_ONCE,
    fw_cfg: crate::scripts::fw_cfg::DEFAULT,
    fw_cfg_configured: crate::scripts::fw_cfg::CONFIGURED,
    fdc: crate::scripts::fdc::SCRIPT,
    hotplug_processors: crate::scripts::hotplug::PROCESSORS,
    hotplug_slots: crate::scripts::hotplug::SLOTS,
    hpet: crate::scripts::hpet::SCRIPT,
    i440fx: crate::scripts::i440fx::SCRIPT,
    i6300esb: crate::scripts::watchdog::I6300ESB,
    i8042: crate::scripts::i8042::SCRIPT,
    i8254: crate::scripts::i8254::SCRIPT,
    i8257: crate::scripts::i8257::SCRIPT,
    i8259: crate::scripts::i8259::SCRIPT,
    ib700: crate::scripts::watchdog::IB700,
    ioapic: crate::scripts::ioapic::SCRIPT,
    parallel: crate::scripts::parallel::SCRIPT,
    pc_testdev: crate::scripts::pc_testdev::SCRIPT,
    pci_bridge: crate::scripts::pci_bridge::SCRIPT,
    pci_serial: crate::scripts::pci_serial::SCRIPT,
    piix3: crate::scripts::piix3::SCRIPT,
    piix4_pm: crate::scripts::piix4_pm::SCRIPT,
    port92: crate::scripts::port92::SCRIPT,
    pvpanic: crate::scripts::pvpanic::SCRIPT,
    reset_state: crate::scripts::reset_state::SCRIPT,
    reset_state_of_a_large_machine: crate::scripts::reset_state::LARGE,
    rtc: crate::scripts::rtc::SCRIPT,
    smbus: crate::scripts::smbus::SCRIPT,
    uart: crate::scripts::uart::SCRIPT,
}
