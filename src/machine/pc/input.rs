//! What the user's hands reach on the board: the keyboard, and one of the mice.

use std::collections::VecDeque;
use std::time::Duration;

use devices::base::{Clock, DeviceTimers, Shared, TimerClient, lock, shared};
use devices::input::{I8042, KeyCode, MouseButton};
use devices::vmware::{VmMouse, VmPort};

use super::Board;

/// Most key strokes that wait to be made.
const MOST_STROKES: usize = 1024;
/// The timer of the next stroke.
const NEXT_STROKE: u32 = 0;

impl Board {
    /// Where movements of the user's mouse go.
    #[must_use]
    pub fn pointer(&self) -> Pointer {
        Pointer { ps2: self.keyboard.clone(), vmport: self.vmport.clone() }
    }

    /// Somebody at the keyboard, if there is one.
    #[must_use]
    pub fn typist(&self) -> Option<Shared<Typist>> {
        let keyboard = self.keyboard.clone()?;
        let timers = self.queue.timers();
        let owner = timers.owner();
        let typist =
            Typist { clock: self.queue.clock().clone(), timers, keyboard, strokes: VecDeque::new(), not_before: 0 };
        let typist = shared(typist);
        self.wind(owner, &typist);
        Some(typist)
    }
}

/// A key that is pressed or released, and how long nothing else happens then.
struct Stroke {
    key: KeyCode,
    down: bool,
    /// Nanoseconds.
    pause: u64,
}

/// Presses and releases keys at the pace of a person, in guest time.
pub struct Typist {
    clock: Clock,
    timers: DeviceTimers,
    keyboard: Shared<I8042>,
    strokes: VecDeque<Stroke>,
    /// Guest nanoseconds before which the next stroke is not made.
    not_before: u64,
}

impl Typist {
    /// Presses keys one after the other and releases them in the opposite order, with a pause behind each stroke; all
    /// that after what is to be typed before.
    ///
    /// # Errors
    /// So many strokes wait that there is no room for these.
    pub fn type_together(&mut self, keys: &[KeyCode], pause: Duration) -> Result<(), TooBusy> {
        if self.strokes.len() + 2 * keys.len() > MOST_STROKES {
            return Err(TooBusy { waiting: self.strokes.len() });
        }
        let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let down = keys.iter().map(|key| Stroke { key: *key, down: true, pause });
        let up = keys.iter().rev().map(|key| Stroke { key: *key, down: false, pause });
        self.strokes.extend(down.chain(up));
        self.go_on();
        Ok(())
    }

    /// Presses or releases a key now.
    pub fn stroke(&self, key: KeyCode, down: bool) {
        lock(&self.keyboard).key(key, down);
    }

    /// Makes the strokes that are due.
    fn go_on(&mut self) {
        let now = self.clock.now();
        while now >= self.not_before
            && let Some(Stroke { key, down, pause }) = self.strokes.pop_front()
        {
            self.stroke(key, down);
            self.not_before = now.saturating_add(pause);
        }
        let next = (!self.strokes.is_empty()).then_some(self.not_before);
        self.timers.set(NEXT_STROKE, next);
    }
}

impl TimerClient for Typist {
    fn timer_expired(&mut self, _timer: u32) {
        self.go_on();
    }
}

/// Too many key strokes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} key strokes wait to be made, and there is no room for more than {MOST_STROKES}")]
pub struct TooBusy {
    /// How many do.
    waiting: usize,
}

/// Which mouse one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MouseKind {
    /// That at the keyboard controller.
    Ps2,
    /// That behind VMware's port.
    VmMouse,
}

/// A mouse that a guest can hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mouse {
    /// Which it is.
    pub kind: MouseKind,
    /// It is the one that is moved.
    pub in_use: bool,
    /// It reports positions.
    pub absolute: bool,
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

    /// Where the pointer was last.
    #[must_use]
    pub fn position(&self) -> (u16, u16) {
        self.with_vmmouse(|mouse| mouse.position()).unwrap_or_default()
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
        if self.uses_vmmouse() {
            self.announce(|mouse| mouse.scroll(down));
        } else if let Some(ps2) = &self.ps2 {
            lock(ps2).scroll(down, right);
        }
    }

    /// A button goes down or up.
    pub fn button(&self, button: MouseButton, down: bool) {
        // One that is released is released everywhere: it may have been pressed when the other mouse was in use.
        let in_use = self.uses_vmmouse();
        self.announce(|mouse| mouse.button(button, down));
        if let Some(ps2) = self.ps2.as_ref().filter(|_| !in_use || !down) {
            lock(ps2).button(button, down);
        }
    }

    /// The mice that a guest can hear of now.
    #[must_use]
    pub fn mice(&self) -> Vec<Mouse> {
        let vmmouse = self.with_vmmouse(|mouse| mouse.is_enabled().then(|| (mouse.is_in_use(), mouse.is_absolute())));
        let (in_use, absolute) = match vmmouse.flatten() {
            Some((in_use, absolute)) => (in_use, Some(absolute)),
            None => (false, None),
        };
        let ps2 = self.ps2.iter().map(|_| Mouse { kind: MouseKind::Ps2, in_use: !in_use, absolute: false });
        ps2.chain(absolute.map(|absolute| Mouse { kind: MouseKind::VmMouse, in_use, absolute })).collect()
    }

    /// Has one of [`Self::mice`] be the one in use, until the guest's driver chooses again.
    pub fn choose(&self, kind: MouseKind) {
        self.with_vmmouse(|mouse| mouse.set_aside(kind == MouseKind::Ps2));
    }

    fn uses_vmmouse(&self) -> bool {
        self.with_vmmouse(|mouse| mouse.is_in_use()).unwrap_or(false)
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
    use devices::base::Registers;

    use super::*;
    use crate::machine::board::port;
    use crate::qtest::QtestMachine;

    /// A call of VMware's port, as a guest makes it; EAX after it.
    fn call(pc: &QtestMachine, ecx: u32, ebx: u32) -> u32 {
        let mut registers = Registers { eax: 0x564d_5868, ebx, ecx, ..Registers::default() };
        let (_, device) = pc.board().register_port().unwrap();
        lock(&device).access(&mut registers);
        registers.eax
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

    #[test]
    fn the_user_may_choose_the_other_mouse() {
        let mut pc = QtestMachine::new(["-nodefaults"]).unwrap();
        pc.outb(port::KBC_COMMAND, 0xd4);
        pc.outb(port::KBC_DATA, 0xf4);
        assert_eq!(ps2_bytes(&mut pc), [0xfa]);
        let pointer = pc.board().pointer();
        let ps2 = |in_use| Mouse { kind: MouseKind::Ps2, in_use, absolute: false };
        let vmmouse = |in_use, absolute| Mouse { kind: MouseKind::VmMouse, in_use, absolute };
        assert_eq!(pointer.mice(), [ps2(true)]);
        call(&pc, COMMAND, READ_ID);
        assert_eq!(pointer.mice(), [ps2(false), vmmouse(true, false)]);
        call(&pc, COMMAND, ABSOLUTE);
        pointer.choose(MouseKind::Ps2);
        assert_eq!(pointer.mice(), [ps2(true), vmmouse(false, true)]);
        pointer.button(MouseButton::Left, true);
        // The word of the identification, and nothing else.
        assert_eq!(call(&pc, STATUS, 0), 1);
        assert_eq!(ps2_bytes(&mut pc), [0x09, 0, 0]);
        pointer.choose(MouseKind::VmMouse);
        pointer.scroll(1, 0);
        assert_eq!(call(&pc, STATUS, 0), 5);
    }

    /// Everything that the keyboard has sent, in set 1.
    fn scan_codes(pc: &mut QtestMachine) -> Vec<u8> {
        const FULL: u8 = 0x01;
        std::iter::from_fn(|| (pc.inb(port::KBC_COMMAND) & FULL != 0).then(|| pc.inb(port::KBC_DATA))).collect()
    }

    #[test]
    fn keys_are_held_together_and_typed_one_after_the_other() {
        let mut pc = QtestMachine::new(["-nodefaults"]).unwrap();
        // Translation to set 1.
        pc.outb(port::KBC_COMMAND, 0x60);
        pc.outb(port::KBC_DATA, 0x41);
        let typist = pc.board().typist().unwrap();
        let hold = Duration::from_millis(10);
        lock(&typist).type_together(&[KeyCode::CtrlLeft, KeyCode::AltLeft, KeyCode::Delete], hold).unwrap();
        lock(&typist).type_together(&[KeyCode::A], hold).unwrap();
        assert_eq!(scan_codes(&mut pc), [0x1d]);
        for expected in [&[0x38][..], &[0xe0, 0x53], &[0xe0, 0xd3], &[0xb8], &[0x9d], &[0x1e], &[0x9e], &[]] {
            pc.clock_step(9_000_000).unwrap();
            assert_eq!(scan_codes(&mut pc), [0; 0]);
            pc.clock_step(1_000_000).unwrap();
            assert_eq!(scan_codes(&mut pc), expected);
        }
    }

    #[test]
    fn a_typist_does_not_remember_without_bounds() {
        let pc = QtestMachine::new(["-nodefaults"]).unwrap();
        let typist = pc.board().typist().unwrap();
        let keys = [KeyCode::A; 16];
        // The first stroke is made at once.
        for _ in 0..MOST_STROKES / 32 {
            lock(&typist).type_together(&keys, Duration::MAX).unwrap();
        }
        let error = lock(&typist).type_together(&keys, Duration::MAX).unwrap_err();
        assert_eq!(error, TooBusy { waiting: MOST_STROKES - 1 });
        assert!(QtestMachine::new(["-nodefaults", "-machine", "i8042=off"]).unwrap().board().typist().is_none());
    }
}
