//! VMware's port, 5658h ("VX"), as QEMU's `vmport`: calls of a guest to its hypervisor.
//!
//! A call is an access to the port with the magic number in EAX and a command in the low byte of ECX; it is answered in
//! registers. Commands and answers are those of QEMU 7.2, under the names of VMware's open-vm-tools: version, UUID, size of memory,
//! frequencies, facts of the processor, and the mouse ([`VmMouse`]). Any other command gives ones in EAX. The other calls of
//! VMware's hypervisor, and its second port (5659h), are not there, as in QEMU.
//!
//! An access without registers (qtest) reads ones and writes nothing. QEMU does so with `-accel qtest`, and crashes where there is no
//! processor otherwise.

use super::mouse::{VmMouse, VmMouseState};
use crate::base::{
    AccessRule, Caller, Device, GuestLog, Inspector, IoDevice, Region, RegisterPort, Registers, ResetKind, State,
    StateError,
};

/// In EAX of every call: "VMXh".
pub(super) const MAGIC: u32 = 0x564d_5868;
/// No such command, or no answer.
const UNKNOWN: u32 = u32::MAX;

/// Commands.
pub(super) mod command {
    pub const GET_VERSION: u8 = 10;
    pub const GET_BIOS_UUID: u8 = 19;
    pub const GET_RAM_SIZE: u8 = 20;
    pub const VMMOUSE_DATA: u8 = 39;
    pub const VMMOUSE_STATUS: u8 = 40;
    pub const VMMOUSE_COMMAND: u8 = 41;
    pub const GET_HZ: u8 = 45;
    pub const GET_VCPU_INFO: u8 = 68;
}

/// Version of the interface.
const VERSION: u32 = 6;
/// Product: VMware Server.
const PRODUCT: u32 = 2;
/// What QEMU has in EBX beside the size of memory.
const RAM_SIZE_MARK: u32 = 0x1177;
/// Frequency of the local APICs' timers under KVM.
const APIC_HZ: u32 = 1_000_000_000;
/// The processor has x2APIC mode without interrupt remapping.
const VCPU_LEGACY_X2APIC: u32 = 1 << 3;

/// What the port tells of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The UUID, in the order of its text.
    pub uuid: [u8; 16],
    /// Bytes of RAM.
    pub ram_size: u64,
}

/// The port.
pub struct VmPort {
    identity: Identity,
    mouse: Option<VmMouse>,
    log: GuestLog,
}

impl VmPort {
    /// The port itself.
    pub const REGION: Region = Region::ports(0, "vmport", 1, AccessRule::BYTE);

    /// The port, with a mouse if there is a PS/2 mouse that can announce its events.
    #[must_use]
    pub fn new(identity: Identity, with_mouse: bool) -> Self {
        Self { identity, mouse: with_mouse.then(VmMouse::default), log: GuestLog::default() }
    }

    /// Its mouse.
    pub fn mouse(&mut self) -> Option<&mut VmMouse> {
        self.mouse.as_mut()
    }

    /// Carries out the command in ECX. What it returns is for EAX; the other registers it has changed itself.
    fn call(&mut self, caller: &mut dyn Caller) -> u32 {
        let registers = caller.registers();
        let [command, ..] = registers.ecx.to_le_bytes();
        match command {
            _ if registers.eax != MAGIC => UNKNOWN,
            command::GET_VERSION => {
                (registers.ebx, registers.ecx) = (MAGIC, PRODUCT);
                VERSION
            }
            command::GET_BIOS_UUID => {
                let (words, _) = self.identity.uuid.as_chunks();
                let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
                let mut next = || words.next().unwrap_or_default();
                let first = next();
                (registers.ebx, registers.ecx, registers.edx) = (next(), next(), next());
                first
            }
            command::GET_RAM_SIZE => {
                registers.ebx = RAM_SIZE_MARK;
                // Modulo 4 GiB.
                self.identity.ram_size as u32
            }
            command::GET_HZ => match caller.tsc_hz() {
                Some(hz) => {
                    let registers = caller.registers();
                    (registers.ebx, registers.ecx) = ((hz >> 32) as u32, APIC_HZ);
                    hz as u32
                }
                None => {
                    let registers = caller.registers();
                    registers.ebx = UNKNOWN;
                    registers.eax
                }
            },
            command::GET_VCPU_INFO if caller.has_x2apic() => VCPU_LEGACY_X2APIC,
            command::GET_VCPU_INFO => 0,
            command::VMMOUSE_DATA | command::VMMOUSE_STATUS | command::VMMOUSE_COMMAND => {
                let registers = caller.registers();
                match &mut self.mouse {
                    Some(mouse) => call_mouse(mouse, registers, &mut self.log),
                    None => UNKNOWN,
                }
            }
            _ => {
                self.log.warn("vmport", format_args!("command {command} is not supported"));
                UNKNOWN
            }
        }
    }
}

fn call_mouse(mouse: &mut VmMouse, registers: &mut Registers, log: &mut GuestLog) -> u32 {
    // The mouse, unlike the port, looks at 16 bits of the command.
    match u8::try_from(registers.ecx & 0xffff) {
        Ok(command::VMMOUSE_STATUS) => return mouse.status(),
        Ok(command::VMMOUSE_COMMAND) => {
            if !mouse.command(registers.ebx) {
                log.warn("vmmouse", format_args!("operation {:#x} is not supported", registers.ebx));
            }
        }
        Ok(command::VMMOUSE_DATA) => match mouse.data(registers.ebx) {
            Some(words) => {
                let Registers { eax, ebx, ecx, edx, esi, edi } = registers;
                for (register, word) in [eax, ebx, ecx, edx, esi, edi].into_iter().zip(words) {
                    *register = word;
                }
            }
            None => log.warn("vmmouse", format_args!("the driver asks for more than there is")),
        },
        _ => log.warn("vmmouse", format_args!("command {:#x} is not supported", registers.ecx & 0xffff)),
    }
    registers.eax
}

impl RegisterPort for VmPort {
    fn access(&mut self, caller: &mut dyn Caller) {
        let eax = self.call(caller);
        caller.registers().eax = eax;
    }
}

impl IoDevice for VmPort {
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        0xff
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::VmMouseState;

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub mouse: Option<VmMouseState>,
    }
}

impl Device for VmPort {
    fn name(&self) -> &'static str {
        "vmport"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.mouse.iter_mut().for_each(VmMouse::reset);
    }

    fn save(&self) -> State {
        let Self { identity: _, mouse, log: _ } = self;
        State::of(state::VERSION, &state::V1 { mouse: mouse.as_ref().map(VmMouse::save) })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { mouse } = state.decode(state::VERSION)?;
        if mouse.is_some() != self.mouse.is_some() {
            return Err(StateError::invalid("mouse", "the other machine has one, or has none, unlike this one"));
        }
        self.mouse = mouse.map(VmMouse::restore).transpose()?;
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        let [a, b, c, d, e, f, g, h, ..] = self.identity.uuid;
        out.register("first half of the UUID", u64::from_be_bytes([a, b, c, d, e, f, g, h]), 64);
        out.number("RAM", self.identity.ram_size);
        if let Some(mouse) = &self.mouse {
            mouse.inspect(out);
        }
    }
}
