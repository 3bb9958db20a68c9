//! Hot-plug of processors as QEMU's `pc` has it (`docs/specs/acpi_cpu_hotplug`), at ports AF00h-AF1Fh there.
//!
//! At power-on the 32 ports are a bitmap of the APIC ids that are present, for firmware from before QEMU 2.7. A zero written
//! to the first port changes them for good, across resets too, to the registers that the DSDT uses: twelve ports, of which
//! some are another register when written than when read. What is then left of the 32 does not decode.
//!
//! Emulated completely, with the indirection that goes with firmware-controlled ejection (flag bit 4). Whoever plugs and
//! unplugs processors calls [`CpuHotplug::plug`] and [`CpuHotplug::request_unplug`]; the guest's answers arrive at
//! [`HotplugEvents`]. The machine has no command that does (`device_add`, `device_del`): until then guests find the registers
//! and no event.

use std::sync::Arc;

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

use super::HotplugEvents;
use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};
use crate::chipset::gpe::GpeInput;

/// Ports of the bitmap.
const BITMAP_LEN: u64 = 32;
/// Ports of the registers.
const REGISTERS_LEN: u64 = 12;

/// Offsets of the registers.
mod reg {
    /// Written: which processor the others are about.
    pub const SELECTOR: u64 = 0;
    /// Read: the high half of what [`DATA`] says.
    pub const DATA_2: u64 = 0;
    pub const FLAGS: u64 = 4;
    /// Written only.
    pub const COMMAND: u64 = 5;
    pub const DATA: u64 = 8;
}

/// Values of the command register: what the data register means.
mod command {
    /// When written: select the next processor with an event. Then: read the selector.
    pub const NEXT_EVENT: u8 = 0;
    /// Write the event that the guest reports on.
    pub const OST_EVENT: u8 = 1;
    /// Write how far it came.
    pub const OST_STATUS: u8 = 2;
    /// Read the APIC id. The last command there is.
    pub const ARCH_ID: u8 = 3;
}

/// The flags of a processor.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
struct Flags {
    /// It is there.
    enabled: bool,
    /// It came, and the guest has not been told. Written: it has.
    inserting: bool,
    /// It shall go, and the guest has not been told. Written: it has.
    removing: bool,
    /// Written: the guest lets go of it.
    eject: bool,
    /// Written: firmware shall let go of it. Stands until it does.
    firmware_eject: bool,
    #[bits(3)]
    reserved: u8,
}

/// A processor that is there, or that there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cpu {
    apic_id: u32,
    present: bool,
    inserting: bool,
    removing: bool,
    firmware_eject: bool,
    ost_event: u32,
    ost_status: u32,
}

impl Cpu {
    fn flags(&self) -> Flags {
        Flags::new()
            .with_enabled(self.present)
            .with_inserting(self.inserting)
            .with_removing(self.removing)
            .with_firmware_eject(self.firmware_eject)
    }

    fn has_event(&self) -> bool {
        self.inserting || self.removing || self.firmware_eject
    }
}

/// The registers.
pub struct CpuHotplug {
    event: GpeInput,
    events: Arc<dyn HotplugEvents>,
    cpus: Vec<Cpu>,
    /// The bitmap has given way to the registers.
    modern: bool,
    selector: u32,
    command: u8,
}

impl CpuHotplug {
    /// The ports.
    pub const REGION: Region = Region::ports(0, "acpi-cpu-hotplug", BITMAP_LEN, AccessRule::native(1, 4).guest(1, 4));

    /// The registers for processors with these APIC ids, of which the first `present` are there. `event` is raised by every
    /// change.
    #[must_use]
    pub fn new(apic_ids: &[u32], present: usize, event: GpeInput, events: Arc<dyn HotplugEvents>) -> Self {
        let cpu = |(index, &apic_id)| Cpu {
            apic_id,
            present: index < present,
            inserting: false,
            removing: false,
            firmware_eject: false,
            ost_event: 0,
            ost_status: 0,
        };
        let cpus = apic_ids.iter().enumerate().map(cpu).collect();
        Self { event, events, cpus, modern: false, selector: 0, command: command::NEXT_EVENT }
    }

    /// Processor `index` is there now. Does nothing if it was, or if there is no room for it.
    pub fn plug(&mut self, index: u32) {
        if let Some(cpu) = self.cpu_mut(index).filter(|cpu| !cpu.present) {
            cpu.present = true;
            cpu.inserting = true;
            self.event.raise();
        }
    }

    /// Asks the guest to let go of processor `index`. Does nothing if it is not there.
    pub fn request_unplug(&mut self, index: u32) {
        if let Some(cpu) = self.cpu_mut(index).filter(|cpu| cpu.present) {
            cpu.removing = true;
            self.event.raise();
        }
    }

    /// Processor `index` is gone, as the guest wished.
    pub fn unplugged(&mut self, index: u32) {
        if let Some(cpu) = self.cpu_mut(index) {
            *cpu = Cpu { present: false, inserting: false, removing: false, firmware_eject: false, ..*cpu };
        }
    }

    fn cpu_mut(&mut self, index: u32) -> Option<&mut Cpu> {
        self.cpus.get_mut(usize::try_from(index).ok()?)
    }

    fn selected(&self) -> Option<&Cpu> {
        self.cpus.get(usize::try_from(self.selector).ok()?)
    }

    /// Eight processors of the bitmap.
    fn bitmap(&self, offset: u64) -> u8 {
        let ids = self.cpus.iter().filter(|cpu| cpu.present).map(|cpu| cpu.apic_id);
        ids.filter(|id| u64::from(id / 8) == offset).fold(0, |byte, id| byte | 1 << (id % 8))
    }

    /// Selects the next processor with an event, beginning with the selected one; the selection stays if there is none.
    fn select_next_event(&mut self) {
        let count = self.cpus.len();
        let start = usize::try_from(self.selector).unwrap_or(count);
        let next = (0..count).map(|step| (start + step) % count).find(|&index| self.cpus[index].has_event());
        if let Some(index) = next {
            self.selector = index as u32;
        }
    }

    fn write_flags(&mut self, value: Flags) {
        let (index, first) = (self.selector, self.selector == 0);
        let Some(cpu) = self.cpu_mut(index) else { return };
        // One at a time, in this order.
        if value.inserting() {
            cpu.inserting = false;
        } else if value.removing() {
            cpu.removing = false;
        } else if value.eject() {
            // The machine can't do without its first processor.
            if cpu.present && !first {
                cpu.firmware_eject = false;
                self.events.eject_cpu(index);
            }
        } else if value.firmware_eject() && cpu.present && !first {
            cpu.firmware_eject = true;
        }
    }

    fn write_data(&mut self, value: u32) {
        let (index, command) = (self.selector, self.command);
        let Some(cpu) = self.cpu_mut(index) else { return };
        match command {
            command::OST_EVENT => cpu.ost_event = value,
            command::OST_STATUS => {
                cpu.ost_status = value;
                let event = cpu.ost_event;
                self.events.cpu_status(index, event, value);
            }
            _ => {}
        }
    }
}

impl IoDevice for CpuHotplug {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        if !self.modern {
            // As in QEMU, one byte of the bitmap however wide the access.
            return self.bitmap(offset).into();
        }
        if offset >= REGISTERS_LEN {
            return u64::MAX >> (64 - 8 * u32::from(size));
        }
        let Some(cpu) = self.selected() else { return 0 };
        match (offset, self.command) {
            (reg::FLAGS, _) => cpu.flags().into_bits().into(),
            (reg::DATA, command::NEXT_EVENT) => self.selector.into(),
            (reg::DATA, command::ARCH_ID) => cpu.apic_id.into(),
            // An APIC id has no high half, and no command has another answer.
            (reg::DATA_2, _) => 0,
            _ => 0,
        }
    }

    fn write(&mut self, _region: u16, offset: u64, _size: u8, value: u64) {
        if !self.modern {
            self.modern = offset == 0 && value == 0;
            return;
        }
        let value = value as u32;
        match offset {
            reg::SELECTOR => self.selector = value,
            // The rest is about a processor that exists.
            _ if self.selected().is_none() => {}
            reg::FLAGS => self.write_flags(Flags::from_bits(value as u8)),
            reg::COMMAND if value <= command::ARCH_ID.into() => {
                self.command = value as u8;
                if self.command == command::NEXT_EVENT {
                    self.select_next_event();
                }
            }
            reg::DATA => self.write_data(value),
            _ => {}
        }
    }
}

mod state {
    use super::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub modern: bool,
        pub selector: u32,
        pub command: u8,
        pub cpus: Vec<Cpu>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Cpu {
        pub present: bool,
        pub inserting: bool,
        pub removing: bool,
        pub firmware_eject: bool,
        pub ost_event: u32,
        pub ost_status: u32,
    }
}

impl Device for CpuHotplug {
    fn name(&self) -> &'static str {
        "acpi-cpu-hotplug"
    }

    /// The processors are not the registers' to reset. A system reset leaves the registers as they are, as in QEMU: the
    /// events that the guest has not heard of yet remain.
    fn reset(&mut self, kind: ResetKind) {
        if kind == ResetKind::PowerOn {
            self.modern = false;
            self.selector = 0;
            self.command = command::NEXT_EVENT;
            for cpu in &mut self.cpus {
                let Cpu { apic_id, present, .. } = *cpu;
                *cpu = Cpu {
                    apic_id,
                    present,
                    inserting: false,
                    removing: false,
                    firmware_eject: false,
                    ost_event: 0,
                    ost_status: 0,
                };
            }
        }
    }

    fn save(&self) -> State {
        let Self { event: _, events: _, cpus, modern, selector, command } = self;
        let cpu = |cpu: &Cpu| {
            let Cpu { apic_id: _, present, inserting, removing, firmware_eject, ost_event, ost_status } = *cpu;
            state::Cpu { present, inserting, removing, firmware_eject, ost_event, ost_status }
        };
        let cpus = cpus.iter().map(cpu).collect();
        State::of(state::VERSION, &state::V1 { modern: *modern, selector: *selector, command: *command, cpus })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { modern, selector, command, cpus } = state.decode(state::VERSION)?;
        if cpus.len() != self.cpus.len() {
            let why = format!("has {} processors, and the machine room for {}", cpus.len(), self.cpus.len());
            return Err(StateError::invalid("cpus", why));
        }
        if command > command::ARCH_ID {
            return Err(StateError::invalid("command", format!("{command} is none")));
        }
        if let Some(index) = cpus.iter().zip(&self.cpus).position(|(saved, own)| saved.present != own.present) {
            let there = |present| if present { "is" } else { "is not" };
            let why = format!(
                "processor {index} {} there, on the machine it {}",
                there(cpus[index].present),
                there(!cpus[index].present)
            );
            return Err(StateError::invalid("cpus", why));
        }
        if cpus.iter().any(|cpu| !cpu.present && (cpu.inserting || cpu.removing || cpu.firmware_eject)) {
            return Err(StateError::invalid("cpus", "has an event of a processor that is not there"));
        }
        for (cpu, saved) in self.cpus.iter_mut().zip(cpus) {
            let state::Cpu { present, inserting, removing, firmware_eject, ost_event, ost_status } = saved;
            *cpu = Cpu { apic_id: cpu.apic_id, present, inserting, removing, firmware_eject, ost_event, ost_status };
        }
        (self.modern, self.selector, self.command) = (modern, selector, command);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.flag("registers", self.modern);
        out.register("selector", self.selector, 32);
        out.register("command", self.command, 8);
        for (index, cpu) in self.cpus.iter().enumerate().filter(|(_, cpu)| cpu.has_event()) {
            out.register(format!("CPU {index} flags"), cpu.flags().into_bits(), 8);
        }
    }
}

#[cfg(test)]
mod tests;
