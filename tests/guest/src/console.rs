//! Text to the first serial port: a 16550 at its usual place, polled, in lines.
//!
//! A line goes out in as few visits to ring 0 as its bytes allow: one to see that the FIFO is empty, one to fill it.

use core::fmt::{self, Write};

use crate::{
    ring0::{inb, outb, outb_each},
    spin::{Guard, Mutex},
};

const COM1: u16 = 0x3f8;

// Registers of the 16550, as offsets (National Semiconductor PC16550D).
const THR: u16 = 0;
const DLL: u16 = 0;
const DLM: u16 = 1;
const IER: u16 = 1;
const FCR: u16 = 2;
const LCR: u16 = 3;
const MCR: u16 = 4;
const LSR: u16 = 5;

const LCR_8N1: u8 = 0x03;
const LCR_DLAB: u8 = 0x80;
const FCR_ENABLE_AND_CLEAR: u8 = 0x07;
const MCR_DTR_RTS: u8 = 0x03;
const LSR_THRE: u8 = 0x20;
const FIFO_SIZE: usize = 16;

/// How often to look for an empty FIFO before writing all the same: 16 characters at 115200 baud take 1.4 ms, and a
/// look no less than a microsecond.
const PATIENCE: u32 = 20_000;

static LOCK: Mutex<()> = Mutex::new(());

/// The port as a driver finds it at reset: 115200 baud, 8 data bits, no parity, FIFO on, no interrupts.
pub(crate) fn init() {
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, LCR_DLAB | LCR_8N1);
    outb(COM1 + DLL, 1);
    outb(COM1 + DLM, 0);
    outb(COM1 + LCR, LCR_8N1);
    outb(COM1 + FCR, FCR_ENABLE_AND_CLEAR);
    outb(COM1 + MCR, MCR_DTR_RTS);
}

/// Waits until all is sent, with nobody printing meanwhile, and runs `use_port` on the base of the port.
pub fn with_port<T>(use_port: impl FnOnce(u16) -> T) -> T {
    let _guard = LOCK.lock();
    wait_for_fifo();
    use_port(COM1)
}

/// Prints as `format_args!` says: what `print!` and `println!` call.
pub fn print(text: fmt::Arguments) {
    let mut writer = Writer { _lock: LOCK.lock(), fifo: [0; FIFO_SIZE], used: 0 };
    // The writer never fails; an error would be that of a `Display` in the text.
    let _ = writer.write_fmt(text);
    writer.flush();
}

/// Takes the lock away from whoever holds it, for a last message.
pub(crate) fn seize() {
    // SAFETY: there is no value behind the lock.
    unsafe { LOCK.seize() };
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::console::print(::core::format_args!($($text)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($text:tt)*) => { $crate::print!("{}\n", ::core::format_args!($($text)*)) };
}

fn wait_for_fifo() {
    for _ in 0..PATIENCE {
        if inb(COM1 + LSR) & LSR_THRE != 0 {
            break;
        }
    }
}

/// Collects what the FIFO can take at once.
struct Writer {
    fifo: [u8; FIFO_SIZE],
    used: usize,
    _lock: Guard<'static, ()>,
}

impl Writer {
    fn push(&mut self, byte: u8) {
        if self.used == FIFO_SIZE {
            self.flush();
        }
        self.fifo[self.used] = byte;
        self.used += 1;
    }

    fn flush(&mut self) {
        wait_for_fifo();
        outb_each(COM1 + THR, &self.fifo[..self.used]);
        self.used = 0;
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.push(b'\r');
            }
            self.push(byte);
        }
        Ok(())
    }
}
