//! VMware's port, and the way of the user's pointer to the mice of the board.

use std::sync::{Arc, Mutex};

use devices::base::{RegisterPort, Shared, lock, shared};
use devices::input::{I8042, MouseButton};
use devices::vmware::{Identity, VmMouse, VmPort};

use super::Board;
use crate::config::MachineConfig;
use crate::machine::board::port;

impl Board {
    /// Adds the port, with a mouse if there is a keyboard controller.
    pub(super) fn add_vmport(&mut self, config: &MachineConfig) {
        let uuid = config.identity.uuid.unwrap_or_default().into_bytes();
        let identity = Identity { uuid, ram_size: config.memory.size() };
        let device = shared(VmPort::new(identity, self.keyboard.is_some()));
        self.add(&device, &[(port::VMPORT, VmPort::REGION)]);
        self.vmport = Some(device);
    }

    /// The port that wants to see the registers of processors, if there is one: its number, and what is behind it.
    #[must_use]
    pub fn register_port(&self) -> Option<(u16, Arc<Mutex<dyn RegisterPort>>)> {
        let device = Arc::clone(self.vmport.as_ref()?);
        Some((port::VMPORT, device))
    }

    /// Where movements of the user's mouse go.
    #[must_use]
    pub fn pointer(&self) -> Pointer {
        Pointer { ps2: self.keyboard.clone(), vmport: self.vmport.clone() }
    }
}

/// The mice of the board: movement goes to the one that the guest's driver has chosen.
#[derive(Clone)]
pub struct Pointer {
    ps2: Option<Shared<I8042>>,
    vmport: Option<Shared<VmPort>>,
}

impl Pointer {
    /// Whether the guest wants positions, not movement.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.with_vmmouse(|mouse| mouse.takes_positions()).unwrap_or(false)
    }

    /// The pointer is at a position, 0 to [`devices::vmware::MAX_COORDINATE`] each way. Lost on a guest that wants movement.
    pub fn move_to(&self, x: u16, y: u16) {
        self.announce(|mouse| mouse.move_to(x, y));
    }

    /// The mouse moves by counts to the right and downwards. A guest that wants positions has it from the PS/2 mouse.
    pub fn move_by(&self, right: i32, down: i32) {
        if self.with_vmmouse(|mouse| mouse.takes_movement()).unwrap_or(false) {
            self.announce(|mouse| mouse.move_by(right, down));
        } else if let Some(ps2) = &self.ps2 {
            lock(ps2).move_by(right, down);
        }
    }

    /// The wheels turn by clicks, towards the user and to the right.
    pub fn scroll(&self, down: i32, right: i32) {
        if self.has_vmmouse() {
            self.announce(|mouse| mouse.scroll(down));
        } else if let Some(ps2) = &self.ps2 {
            lock(ps2).scroll(down, right);
        }
    }

    /// A button goes down or up.
    pub fn button(&self, button: MouseButton, down: bool) {
        // One that is released is released everywhere: it may have been pressed when the other mouse was in use.
        let in_use = self.has_vmmouse();
        self.announce(|mouse| mouse.button(button, down));
        if let Some(ps2) = self.ps2.as_ref().filter(|_| !in_use || !down) {
            lock(ps2).button(button, down);
        }
    }

    fn has_vmmouse(&self) -> bool {
        self.with_vmmouse(|mouse| mouse.is_enabled()).unwrap_or(false)
    }

    fn with_vmmouse<R>(&self, action: impl FnOnce(&mut VmMouse) -> R) -> Option<R> {
        lock(self.vmport.as_ref()?).mouse().map(action)
    }

    /// Tells the mouse behind VMware's port something. If that is news to its driver, the PS/2 mouse interrupts.
    fn announce(&self, tell: impl FnOnce(&mut VmMouse) -> bool) {
        // The port is released before the other device is called.
        let news = self.with_vmmouse(tell).unwrap_or(false);
        if let Some(ps2) = self.ps2.as_ref().filter(|_| news) {
            lock(ps2).move_by(1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use devices::base::{Caller, Registers};

    use super::*;
    use crate::qtest::QtestMachine;

    struct Processor(Registers);

    impl Caller for Processor {
        fn registers(&mut self) -> &mut Registers {
            &mut self.0
        }

        fn tsc_hz(&self) -> Option<u64> {
            None
        }

        fn has_x2apic(&self) -> bool {
            false
        }
    }

    /// A call of VMware's port, as a guest makes it; EAX after it.
    fn call(pc: &QtestMachine, ecx: u32, ebx: u32) -> u32 {
        let mut processor = Processor(Registers { eax: 0x564d_5868, ebx, ecx, ..Registers::default() });
        let (_, device) = pc.board().register_port().unwrap();
        lock(&device).access(&mut processor);
        processor.0.eax
    }

    /// What the PS/2 mouse has sent: a byte, if there is one.
    fn ps2_byte(pc: &mut QtestMachine) -> Option<u8> {
        const FULL_WITH_MOUSE_DATA: u8 = 0x21;
        let full = pc.inb(port::KBC_COMMAND) & FULL_WITH_MOUSE_DATA == FULL_WITH_MOUSE_DATA;
        full.then(|| pc.inb(port::KBC_DATA))
    }

    fn ps2_bytes(pc: &mut QtestMachine) -> Vec<u8> {
        pc.clock_step(100_000_000).unwrap();
        std::iter::from_fn(|| ps2_byte(pc)).collect()
    }

    const STATUS: u32 = 40;
    const COMMAND: u32 = 41;
    const DATA: u32 = 39;
    const READ_ID: u32 = 0x4541_4552;
    const ABSOLUTE: u32 = 0x5342_4152;
    const DISABLE: u32 = 0xf5;

    #[test]
    fn movement_goes_to_the_mouse_that_the_guest_has_chosen() {
        let mut pc = QtestMachine::new(["-nodefaults"]).unwrap();
        // The PS/2 mouse reports (F4h).
        pc.outb(port::KBC_COMMAND, 0xd4);
        pc.outb(port::KBC_DATA, 0xf4);
        assert_eq!(ps2_bytes(&mut pc), [0xfa]);
        let pointer = pc.board().pointer();
        pointer.move_by(3, 0);
        pointer.move_to(5, 5);
        assert_eq!(ps2_bytes(&mut pc), [0x08, 3, 0]);

        call(&pc, COMMAND, READ_ID);
        call(&pc, DATA, 1);
        call(&pc, COMMAND, ABSOLUTE);
        assert!(pointer.is_absolute());
        pointer.move_to(5, 6);
        assert_eq!(call(&pc, STATUS, 0), 4);
        // The packet that announces it.
        assert_eq!(ps2_bytes(&mut pc), [0x08, 1, 0]);
        // The first word of an event is the buttons.
        assert_eq!(call(&pc, DATA, 4), 0);
        pointer.button(MouseButton::Left, true);
        assert_eq!(call(&pc, DATA, 4), 0x20);
        assert_eq!(ps2_bytes(&mut pc), [0x08, 1, 0]);

        call(&pc, COMMAND, DISABLE);
        assert!(!pointer.is_absolute());
        pointer.move_by(0, -1);
        assert_eq!(ps2_bytes(&mut pc), [0x08, 0, 1]);
    }

    #[test]
    fn the_port_can_be_left_out_and_the_mouse_needs_a_keyboard_controller() {
        let pc = QtestMachine::new(["-nodefaults", "-machine", "vmport=off"]).unwrap();
        assert!(pc.board().register_port().is_none());
        pc.board().pointer().move_by(1, 1);
        let pc = QtestMachine::new(["-nodefaults", "-machine", "i8042=off"]).unwrap();
        assert_eq!(call(&pc, 10, 0), 6);
        assert_eq!(call(&pc, STATUS, 0), u32::MAX);
        pc.board().pointer().scroll(1, 0);
    }
}
