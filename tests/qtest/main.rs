//! Scripts that drive the devices of the board as their drivers do, without processors.
//!
//! A script is a function over [`pc::Pc`] that walks through a data sheet. Each runs on natoma's board in this process, on natoma as
//! a process by the qtest protocol, and on QEMU, where there is one. QEMU's answers are recorded ([`golden`]): natoma's are compared
//! with the record, and QEMU's too, so that it stays true.

mod client;
mod differ;
mod golden;
mod pc;
mod scripts;

use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use client::Process;
use differ::{Difference, Recorder, compare};
use pc::{InProcess, Pc};
use tempfile::NamedTempFile;

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

/// `IMAGE` in an option stands for a file of [`IMAGE_SECTORS`] sectors, each of which begins with its number; some options are
/// files as a whole.
fn options(script: &Script) -> Vec<&'static str> {
    let with_file = |option: &&'static str| match *option {
        option if option.contains("IMAGE") => &*option.replace("IMAGE", image()).leak(),
        option if option.contains("FLASH") => option.replace("FLASH", scripts::cfi01::file()).leak(),
        option => scripts::fw_cfg_kernel::placeholder(option).unwrap_or(option),
    };
    OPTIONS.iter().chain(script.options).map(with_file).collect()
}

/// Sectors of an image.
const IMAGE_SECTORS: u32 = 131_072;

fn image() -> &'static str {
    static IMAGE: LazyLock<NamedTempFile> = LazyLock::new(|| {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(u64::from(IMAGE_SECTORS) * 512).unwrap();
        for sector in 0..2048_u32 {
            file.as_file().write_all_at(&sector.to_le_bytes(), u64::from(sector) * 512).unwrap();
        }
        file
    });
    IMAGE.path().to_str().unwrap()
}

fn in_process(script: &Script) {
    (script.run)(&mut InProcess::new(&options(script)));
}

fn process(script: &Script) {
    (script.run)(&mut Process::natoma(&options(script)));
}

/// Compares natoma's answers with QEMU's as they are recorded.
fn like_recorded(name: &str, script: &Script) {
    let mut natoma = InProcess::new(&options(script));
    let mut natoma = Recorder::new(&mut natoma);
    (script.run)(&mut natoma);
    let report = compare(&natoma.into_steps(), &golden::recorded(name), script.differences);
    assert!(report.is_empty(), "natoma and QEMU differ:\n{}", report.join("\n"));
}

/// Compares QEMU's answers with those that are recorded.
fn recorded_like_qemu(name: &str, script: &Script) {
    let Some(mut qemu) = Process::qemu(&options(script)) else { return };
    let mut recorder = Recorder::new(&mut qemu);
    (script.run)(&mut recorder);
    golden::check(name, &recorder.into_steps());
}

/// Makes four tests of each script.
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
            fn like_recorded() {
                crate::like_recorded(stringify!($name), &$script);
            }

            #[test]
            fn recorded_like_qemu() {
                crate::recorded_like_qemu(stringify!($name), &$script);
            }
        })*
    };
}

scripts! {
    debug_exit: crate::scripts::debug::DEBUG_EXIT,
    debugcon: crate::scripts::debug::DEBUGCON,
    acpi_tables_of_the_user: crate::scripts::fw_cfg::ACPI_TABLES,
    boot_devices: crate::scripts::fw_cfg::BOOT_DEVICES,
    boot_once: crate::scripts::fw_cfg::BOOT_ONCE,
    cfi01: crate::scripts::cfi01::SCRIPT,
    fw_cfg: crate::scripts::fw_cfg::DEFAULT,
    fw_cfg_kernel: crate::scripts::fw_cfg_kernel::SCRIPT,
    fw_cfg_configured: crate::scripts::fw_cfg::CONFIGURED,
    fdc: crate::scripts::fdc::SCRIPT,
    hotplug_processors: crate::scripts::hotplug::PROCESSORS,
    hotplug_slots: crate::scripts::hotplug::SLOTS,
    hpet: crate::scripts::hpet::SCRIPT,
    hpet_configured: crate::scripts::hpet::CONFIGURED,
    i440fx: crate::scripts::i440fx::SCRIPT,
    i6300esb: crate::scripts::watchdog::I6300ESB,
    i8042: crate::scripts::i8042::SCRIPT,
    i8254: crate::scripts::i8254::SCRIPT,
    i8257: crate::scripts::i8257::SCRIPT,
    i8259: crate::scripts::i8259::SCRIPT,
    ib700: crate::scripts::watchdog::IB700,
    ide: crate::scripts::ide::SCRIPT,
    ioapic: crate::scripts::ioapic::SCRIPT,
    parallel: crate::scripts::parallel::SCRIPT,
    pc_testdev: crate::scripts::pc_testdev::SCRIPT,
    pci_bridge: crate::scripts::pci_bridge::SCRIPT,
    pci_testdev: crate::scripts::pci_testdev::SCRIPT,
    pci_serial: crate::scripts::pci_serial::SCRIPT,
    piix3: crate::scripts::piix3::SCRIPT,
    piix4_pm: crate::scripts::piix4_pm::SCRIPT,
    port92: crate::scripts::port92::SCRIPT,
    pvpanic: crate::scripts::pvpanic::SCRIPT,
    reset_state: crate::scripts::reset_state::SCRIPT,
    reset_state_of_add_ons: crate::scripts::reset_state::ADD_ONS,
    reset_state_of_a_large_machine: crate::scripts::reset_state::LARGE,
    rtc: crate::scripts::rtc::SCRIPT,
    shpc: crate::scripts::shpc::SCRIPT,
    smbus: crate::scripts::smbus::SCRIPT,
    uart: crate::scripts::uart::SCRIPT,
    virtio_blk: crate::scripts::virtio_blk::SCRIPT,
    virtio_scsi: crate::scripts::virtio_scsi::SCRIPT,
}
