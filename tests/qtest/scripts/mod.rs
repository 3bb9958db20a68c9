//! The scripts, one file per device.

pub mod debug;
pub mod fdc;
pub mod fw_cfg;
pub mod hotplug;
pub mod hpet;
pub mod i440fx;
pub mod i8042;
pub mod i8254;
pub mod i8257;
pub mod i8259;
pub mod ide;
pub mod ioapic;
pub mod parallel;
pub mod pc_testdev;
pub mod pci_bridge;
pub mod pci_serial;
pub mod piix3;
pub mod piix4_pm;
pub mod port92;
pub mod pvpanic;
pub mod reset_state;
pub mod rtc;
pub mod shpc;
pub mod smbus;
pub mod uart;
pub mod watchdog;
