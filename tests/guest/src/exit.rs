//! Ways to end: power-off through ACPI, a failure that the host's exit status shows, reset.

use crate::{
    acpi::{Acpi, Fadt},
    println,
    ring0::{self, inb, inw, outb, outw},
};

/// QEMU's `isa-debug-exit` at its default place: writing `v` ends the virtual machine with status `v << 1 | 1`.
const DEBUG_EXIT: u16 = 0x501;
/// 8042: the status and command port, the "input buffer full" bit, and the command that pulses the reset line.
const KEYBOARD: u16 = 0x64;
const KEYBOARD_BUSY: u8 = 0x02;
const KEYBOARD_RESET: u8 = 0xfe;
/// PIIX3 reset control: a reset is due when bit 2 rises; bit 1 makes it a hard one.
const RESET_CONTROL: u16 = 0xcf9;

/// Fields of PM1_CNT (ACPI specification, "PM1 Control Registers").
const SLEEP_TYPE_SHIFT: u16 = 10;
const SLEEP_TYPE_MASK: u16 = 7 << SLEEP_TYPE_SHIFT;
const SLEEP_ENABLE: u16 = 1 << 13;
const SCI_ENABLE: u16 = 1;

/// How often to look at a port for an effect; each time takes a microsecond or more.
const PATIENCE: u32 = 10_000;

/// Powers the machine off through ACPI; if that can't be done it says why, and resets.
pub fn power_off() -> ! {
    match Acpi::find().map(|acpi| (acpi.fadt(), acpi.sleep_type_s5())) {
        None => println!("No power-off: this machine has no ACPI tables."),
        Some((None, _)) => println!("No power-off: ACPI has no FADT."),
        Some((_, None)) => println!("No power-off: there is no \\_S5 in the DSDT."),
        Some((Some(fadt), Some(sleep_type))) => {
            soft_off(&fadt, sleep_type);
            println!("The machine is still on after SLP_EN at port {:#x}.", fadt.pm1a_control);
        }
    }
    println!("Resetting instead.");
    reset()
}

/// Ends in a way that the host can tell from success: by `isa-debug-exit` with status 3 if it is there. The console
/// should already say what went wrong.
pub fn fail() -> ! {
    debug_exit(1);
    power_off()
}

/// Ends the virtual machine with status `value << 1 | 1`. Returns if there is no `isa-debug-exit`, whose port reads 0.
pub fn debug_exit(value: u8) {
    if inb(DEBUG_EXIT) == 0 {
        outb(DEBUG_EXIT, value);
    }
}

/// Resets the machine: by the keyboard controller, by the chipset, by a triple fault, whichever works first.
pub fn reset() -> ! {
    for _ in 0..PATIENCE {
        if inb(KEYBOARD) & KEYBOARD_BUSY == 0 {
            break;
        }
    }
    outb(KEYBOARD, KEYBOARD_RESET);
    for _ in 0..PATIENCE {
        inb(KEYBOARD);
    }
    outb(RESET_CONTROL, 0x02);
    outb(RESET_CONTROL, 0x06);
    ring0::triple_fault()
}

/// Enters S5. Returns if the machine goes on for some milliseconds.
fn soft_off(fadt: &Fadt, sleep_type: u8) {
    let control = fadt.pm1a_control;
    if inw(control) & SCI_ENABLE == 0 && fadt.smi_command != 0 {
        outb(fadt.smi_command, fadt.acpi_enable);
        for _ in 0..PATIENCE {
            if inw(control) & SCI_ENABLE != 0 {
                break;
            }
        }
    }
    let value = inw(control) & !SLEEP_TYPE_MASK | u16::from(sleep_type) << SLEEP_TYPE_SHIFT;
    outw(control, value | SLEEP_ENABLE);
    for _ in 0..PATIENCE {
        inw(control);
    }
}
