//! The user's keyboard and mouse, as monitors operate them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use devices::base::lock;
use devices::input::KeyCode;

use super::Inspection;
use crate::machine::pc::input::{MouseKind, Pointer};
use crate::monitor::input::{Axis, Input, InputEvent, Mouse};

/// Number and name of a mouse. QEMU's PS/2 mouse is the third of its input devices.
fn identity(kind: MouseKind) -> (u64, &'static str) {
    match kind {
        MouseKind::Ps2 => (2, "QEMU PS/2 Mouse"),
        MouseKind::VmMouse => (3, "vmmouse"),
    }
}

/// Movement that the guest has not been told of: both directions are one movement.
#[derive(Default)]
struct Pending {
    movement: (i32, i32),
    position: Option<(u16, u16)>,
}

impl Pending {
    fn move_by(&mut self, axis: Axis, by: i32) {
        let (right, down) = &mut self.movement;
        let direction = if axis == Axis::X { right } else { down };
        *direction = direction.saturating_add(by);
    }

    fn move_to(&mut self, pointer: &Pointer, axis: Axis, at: u16) {
        let (x, y) = self.position.get_or_insert_with(|| pointer.position());
        *(if axis == Axis::X { x } else { y }) = at;
    }

    fn tell(&mut self, pointer: &Pointer) {
        let Self { movement: (right, down), position } = std::mem::take(self);
        if (right, down) != (0, 0) {
            pointer.move_by(right, down);
        }
        if let Some((x, y)) = position {
            pointer.move_to(x, y);
        }
    }
}

impl Input for Inspection {
    fn type_together(&self, keys: &[KeyCode], hold: Duration) -> Result<()> {
        let typist = self.board.typist.as_ref().context("this machine has no keyboard (i8042=off)")?;
        Ok(lock(typist).type_together(keys, hold)?)
    }

    fn act(&self, events: &[InputEvent]) -> Result<()> {
        let (typist, pointer) = (self.board.typist.as_ref(), &self.board.pointer);
        for event in events {
            match event {
                InputEvent::Key(..) if typist.is_none() => bail!("this machine has no keyboard (i8042=off)"),
                InputEvent::Position(..) if !pointer.is_absolute() => {
                    bail!("Input handler not found for event type abs: the guest uses no pointer that takes positions")
                }
                InputEvent::Button(..) | InputEvent::Wheel { .. } | InputEvent::Move(..)
                    if pointer.mice().is_empty() =>
                {
                    bail!("this machine has no mouse (i8042=off)")
                }
                _ => {}
            }
        }
        let mut pending = Pending::default();
        for event in events {
            match *event {
                InputEvent::Move(axis, by) => pending.move_by(axis, by),
                InputEvent::Position(axis, at) => pending.move_to(pointer, axis, at),
                InputEvent::Key(key, down) => {
                    if let Some(typist) = typist {
                        lock(typist).stroke(key, down);
                    }
                }
                // Where the pointer has come by now.
                InputEvent::Button(button, down) => {
                    pending.tell(pointer);
                    pointer.button(button, down);
                }
                InputEvent::Wheel { down, right } => {
                    pending.tell(pointer);
                    pointer.scroll(down, right);
                }
            }
        }
        pending.tell(pointer);
        Ok(())
    }

    fn mice(&self) -> Vec<Mouse> {
        let mouse = |mouse: crate::machine::pc::input::Mouse| {
            let (index, name) = identity(mouse.kind);
            Mouse { index, name, current: mouse.in_use, absolute: mouse.absolute }
        };
        self.board.pointer.mice().into_iter().map(mouse).collect()
    }

    fn choose_mouse(&self, index: u64) -> Result<()> {
        let mice = self.board.pointer.mice();
        let mouse = mice.iter().find(|mouse| identity(mouse.kind).0 == index);
        let mouse = mouse.with_context(|| format!("Mouse at index '{index}' not found"))?;
        self.board.pointer.choose(mouse.kind);
        Ok(())
    }
}
