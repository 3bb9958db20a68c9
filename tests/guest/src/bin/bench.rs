//! What the benchmarks run: one kind of work, many times over, timed.
//!
//! The command line says what: `MODE [count=N] [port=P] [address=A] [size=1|2|4] [value=V]`, numbers being decimal or,
//! after 0x, hexadecimal.
//!
//! - `exits-pio`: writes to a port: one that nobody claims, unless another is given (that of an ioeventfd, say)
//! - `exits-mmio`: the same to an address
//! - `spin`: passes of an empty loop, in ring 3; the writes are done in ring 0
//! - `poweroff`: nothing
//!
//! The result is a line of `key=value`; then the machine is powered off.
//!
//! The very first instruction, before all that, writes a byte to port 0xf4. A host that wants to know when the guest
//! began puts something there that it notices: an `isa-debugcon`, or an `isa-debug-exit` if it has seen enough then.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

use guest::{exit, kvmclock::KvmClock, println, pvh, ring0, ring0_routines, tsc};

guest::pvh_note!("bench_start");
guest::program!(main);

global_asm!(
    ".pushsection .text.entry, \"ax\"",
    ".code32",
    ".global bench_start",
    "bench_start:",
    "out 0xf4, al",
    "jmp pvh_start",
    ".code64",
    ".popsection",
);

ring0_routines! {
    out_bytes: "2:", "out dx, al", "dec rcx", "jnz 2b";
    out_words: "2:", "out dx, ax", "dec rcx", "jnz 2b";
    out_double_words: "2:", "out dx, eax", "dec rcx", "jnz 2b";
    store_bytes: "2:", "mov [rdx], al", "dec rcx", "jnz 2b";
    store_words: "2:", "mov [rdx], ax", "dec rcx", "jnz 2b";
    store_double_words: "2:", "mov [rdx], eax", "dec rcx", "jnz 2b";
}

/// What is written where, and how often.
struct Writes {
    count: u64,
    port: u64,
    address: u64,
    size: u64,
    value: u64,
}

fn main() {
    let command_line = pvh::start_info().command_line();
    let mut words = command_line.split_ascii_whitespace();
    let mode = words.next().unwrap_or("poweroff");
    // Nobody claims this port, nor this address between the PCI devices and the I/O APIC.
    let mut writes = Writes { count: 10_000, port: 0xe0, address: 0xfeb0_0000, size: 1, value: 0 };
    for word in words {
        if writes.set(word).is_none() {
            println!("bench: {word:?} is none of count=N, port=P, address=A, size=1|2|4, value=V");
            exit::fail();
        }
    }
    match mode {
        "poweroff" => {}
        "spin" => time(mode, &writes, || spin(writes.count)),
        "exits-pio" => time(mode, &writes, || writes.run(false)),
        "exits-mmio" => time(mode, &writes, || writes.run(true)),
        _ => {
            println!("bench: {mode:?} is none of exits-pio, exits-mmio, spin, poweroff");
            exit::fail();
        }
    }
}

/// Does the work once and prints how long it took, in TSC ticks and by kvmclock (0 if there is none).
fn time(mode: &str, writes: &Writes, work: impl FnOnce()) {
    let clock = KvmClock::find();
    let now = || clock.map_or(0, |clock| clock.now());
    let (begin, begin_ticks) = (now(), tsc::now());
    work();
    let (ticks, nanoseconds) = (tsc::now() - begin_ticks, now() - begin);
    println!("bench mode={mode} count={} ticks={ticks} nanoseconds={nanoseconds}", writes.count);
}

fn spin(count: u64) {
    // SAFETY: changes the register only.
    unsafe { asm!("2:", "dec {0}", "jnz 2b", inout(reg) count => _, options(nomem, nostack)) };
}

impl Writes {
    /// Takes a word of the command line. `None` if it can't be understood.
    fn set(&mut self, word: &str) -> Option<()> {
        let (key, number) = word.split_once('=')?;
        let number = match number.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => number.parse(),
        };
        let number: u64 = number.ok()?;
        match key {
            "count" if number > 0 => self.count = number,
            "port" if number <= u16::MAX.into() => self.port = number,
            "address" if number <= u32::MAX.into() => self.address = number,
            "size" if matches!(number, 1 | 2 | 4) => self.size = number,
            "value" => self.value = number,
            _ => return None,
        }
        Some(())
    }

    /// Writes to the port or, if `memory`, to the address.
    fn run(&self, memory: bool) {
        macro_rules! repeat {
            ($routine:ident) => {{
                let target = if memory { self.address } else { self.port };
                // SAFETY: the routine counts RCX down and changes nothing else here; what lies at the address is for
                // whoever wrote the command line to know.
                unsafe {
                    ring0!($routine, inout("rcx") self.count => _, in("rdx") target, in("rax") self.value, options(nostack))
                }
            }};
        }
        match (memory, self.size) {
            (false, 1) => repeat!(out_bytes),
            (false, 2) => repeat!(out_words),
            (false, _) => repeat!(out_double_words),
            (true, 1) => repeat!(store_bytes),
            (true, 2) => repeat!(store_words),
            (true, _) => repeat!(store_double_words),
        }
    }
}
