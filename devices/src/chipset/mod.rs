//! The chipset: i440FX host bridge and the functions of the PIIX3/PIIX4.

pub mod gpe;
pub mod hotplug;
pub mod hpet;
pub mod i440fx;
pub mod i8254;
pub mod i8257;
pub mod i8259;
pub mod ioapic;
pub mod piix3;
pub mod piix4_pm;
pub mod pirq;
pub mod port92;
pub mod rtc;
mod smbus;
