//! Keyboard, mouse and their controller.

mod i8042;
mod key;
mod ps2;

pub use i8042::{I8042, I8042Lines};
pub use key::{KeyCode, MouseButton};
pub use ps2::Leds;
