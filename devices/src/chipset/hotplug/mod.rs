//! What QEMU's machine adds to the chipset for hot-plug by ACPI: registers that only methods of the DSDT use.
//!
//! No data sheet describes them; they follow QEMU's `docs/specs/acpi_cpu_hotplug` and `acpi_pci_hotplug`, and where those
//! are silent what QEMU 7.2 does. A change raises a general purpose event ([`GpeInput`](super::gpe::GpeInput)), whose
//! method in the DSDT asks the registers what happened.

pub mod cpu;
pub mod pci;

/// What the guest makes of its part in hot-plug. A call is a message: it returns at once and calls no device.
pub trait HotplugEvents: Send + Sync {
    /// The guest lets go of what is in slot `slot` of the bus with number `bus`.
    fn eject_slot(&self, bus: u32, slot: u8);

    /// The guest lets go of processor `cpu`.
    fn eject_cpu(&self, cpu: u32);

    /// The guest tells (`_OST`) how far it came with an event of processor `cpu`. Codes: ACPI 4.0, section 6.3.5.
    fn cpu_status(&self, cpu: u32, event: u32, status: u32);
}

#[cfg(test)]
mod testing {
    use std::sync::Mutex;

    use super::HotplugEvents;
    use crate::base::lock;

    /// What was told, as text.
    #[derive(Default)]
    pub struct Told(Mutex<Vec<String>>);

    impl Told {
        /// What was told since the last call.
        pub fn take(&self) -> Vec<String> {
            std::mem::take(&mut *lock(&self.0))
        }
    }

    impl HotplugEvents for Told {
        fn eject_slot(&self, bus: u32, slot: u8) {
            lock(&self.0).push(format!("bus {bus} slot {slot}"));
        }

        fn eject_cpu(&self, cpu: u32) {
            lock(&self.0).push(format!("cpu {cpu}"));
        }

        fn cpu_status(&self, cpu: u32, event: u32, status: u32) {
            lock(&self.0).push(format!("cpu {cpu} event {event} status {status}"));
        }
    }
}
