//! The library of natoma's guests: small programs that run on the bare virtual machine.
//!
//! A program starts in ring 3 of long mode, on the first processor, with all memory below 4 GiB at its own address. What
//! needs privileges it does through [`ring0`]. `README.md` has the memory layout and the reasons.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! guest::pvh_note!("pvh_start");
//! guest::program!(main);
//!
//! fn main() {
//!     guest::println!("{}", guest::pvh::start_info().command_line());
//! }
//! ```

#![no_std]

extern crate alloc;

pub mod acpi;
pub mod console;
pub mod cpu;
mod entry;
pub mod exit;
mod heap;
pub mod hpet;
pub mod interrupts;
pub mod ioapic;
pub mod kvmclock;
pub mod lapic;
pub mod memory;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod platform;
pub mod pm_timer;
pub mod pvh;
pub mod ring0;
pub mod rtc;
mod runtime;
pub mod smp;
pub mod spin;
pub mod tsc;

/// Names the function in which the program begins. When it returns the machine is powered off.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn program_main() {
            let main: fn() = $main;
            main();
        }
    };
}

/// Where the first processor enters ring 3.
extern "C" fn first_processor(_: &'static cpu::Cpu, start_info: *const pvh::StartInfo) -> ! {
    unsafe extern "Rust" {
        safe fn program_main();
    }
    interrupts::init();
    console::init();
    pvh::init(start_info);
    memory::init(pvh::start_info().memory_map());
    program_main();
    exit::power_off()
}
