//! Words of answers are QEMU 7.2's, where it has an answer.

use std::sync::{Arc, Mutex};

use devices::backend::char::{CharClient, CharEvent, MemoryChar};
use devices::base::lock;

use super::*;

/// A page of memory, ports that answer with their number, and a clock.
#[derive(Default)]
struct State {
    memory: Vec<u8>,
    log: Vec<String>,
    now: u64,
    interrupts: Vec<IrqChange>,
    busy: bool,
}

#[derive(Clone)]
struct Machine(Arc<Mutex<State>>);

impl Machine {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { memory: vec![0; 0x10000], ..State::default() })))
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).log)
    }
}

/// Addresses from one on, around the end.
fn addresses(first: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |offset| first.wrapping_add(offset))
}

impl Hardware for Machine {
    fn read_port(&self, port: u16, data: &mut [u8]) {
        data.copy_from_slice(&u32::from(port).to_le_bytes()[..data.len()]);
    }

    fn write_port(&self, port: u16, data: &[u8]) {
        let mut state = lock(&self.0);
        state.log.push(format!("{port:x}={data:02x?}"));
        // Whoever writes to this port resets the machine.
        state.busy |= port == 0xcf9;
        state.interrupts.push(IrqChange { pin: port.into(), level: data[0] != 0 });
    }

    fn read_memory(&self, address: u64, data: &mut [u8]) {
        let state = lock(&self.0);
        for (at, byte) in addresses(address).zip(data) {
            *byte = usize::try_from(at).ok().and_then(|at| state.memory.get(at)).copied().unwrap_or(0xff);
        }
    }

    fn write_memory(&self, address: u64, data: &[u8]) {
        let mut state = lock(&self.0);
        for (at, byte) in addresses(address).zip(data) {
            if let Some(place) = usize::try_from(at).ok().and_then(|at| state.memory.get_mut(at)) {
                *place = *byte;
            }
        }
    }

    fn now(&self) -> u64 {
        lock(&self.0).now
    }

    fn next_deadline(&self) -> Option<u64> {
        Some(1_000)
    }

    fn step_to(&self, target: u64) -> Result<(), HardwareError> {
        let mut state = lock(&self.0);
        state.now = state.now.max(target);
        if target == u64::MAX { Err(HardwareError::TooFar(5)) } else { Ok(()) }
    }

    fn intercept(&self, path: &str, outputs: bool) -> Result<(), HardwareError> {
        lock(&self.0).log.push(format!("intercept {path} {outputs}"));
        if path == "ioapic" { Ok(()) } else { Err(HardwareError::UnknownDevice) }
    }

    fn take_interrupts(&self) -> Vec<IrqChange> {
        std::mem::take(&mut lock(&self.0).interrupts)
    }

    fn set_input(&self, path: &str, name: &str, number: u32, level: bool) -> Result<(), HardwareError> {
        lock(&self.0).log.push(format!("set {path} {name} {number} {level}"));
        if number < 24 { Ok(()) } else { Err(HardwareError::NoSuchInput { name: name.into(), number }) }
    }

    fn is_settled(&self) -> bool {
        !lock(&self.0).busy
    }
}

#[test]
fn accesses() {
    let machine = Machine::new();
    for (line, answer) in [
        ("inb 0x71", "OK 0x0071"),
        ("inw 1234", "OK 0x04d2"),
        ("inl 0xcfc", "OK 0x0cfc"),
        ("outl 020 -1", "OK"),
        ("writeq 0x10 0x1122334455667788", "OK"),
        ("readq 0x10", "OK 0x1122334455667788"),
        ("readl 0x10", "OK 0x0000000055667788"),
        ("readw 0x11", "OK 0x0000000000006677"),
        ("writeb 0x10 0x1ff", "OK"),
        ("readb 0x10", "OK 0x00000000000000ff"),
        ("read 0x10 3", "OK 0xff7766"),
        ("write 0x20 4 0x0102", "OK"),
        ("read 0x20 4", "OK 0x01020000"),
        ("b64read 0x20 2", "OK AQI="),
        ("b64read 0x20 0", "OK "),
        ("b64write 0x30 3 AAEC", "OK"),
        ("b64write 0x33 2 AwQF", "OK"),
        ("read 0x30 6", "OK 0x000102030400"),
        ("memset 0x8000 0x2001 0xaa", "OK"),
        ("read 0x9fff 3", "OK 0xaaaa00"),
        ("memset 0 0 1", "OK"),
        ("endianness", "OK little"),
        ("  inb   0x71  ", "OK 0x0071"),
        ("inb 0x71 extra", "OK 0x0071"),
    ] {
        assert_eq!(execute(line, &machine), answer, "{line}");
    }
    assert_eq!(machine.log(), ["10=[ff, ff, ff, ff]"]);
}

#[test]
fn time_and_interrupts() {
    let machine = Machine::new();
    for (line, answer) in [
        ("clock_step 100", "OK 100"),
        ("clock_step", "OK 1000"),
        ("clock_set 5000", "OK 5000"),
        ("clock_set 10", "OK 5000"),
        ("clock_step -1", "FAIL more than 5 timers expire before that time: move the clock in smaller steps"),
        ("irq_intercept_in ioapic", "OK"),
        ("irq_intercept_out ioapic", "OK"),
        ("irq_intercept_in nope", "FAIL Unknown device"),
        ("set_irq_in ioapic unnamed-gpio-in 3 1", "OK"),
        ("set_irq_in ioapic x 99 0", "FAIL the device has no input 'x' number 99"),
        ("module_load hw- x", "FAIL"),
    ] {
        assert_eq!(execute(line, &machine), answer, "{line}");
    }
    assert_eq!(
        machine.log(),
        [
            "intercept ioapic false",
            "intercept ioapic true",
            "intercept nope false",
            "set ioapic unnamed-gpio-in 3 true",
            "set ioapic x 99 false"
        ]
    );
}

#[test]
fn what_makes_no_sense_is_answered() {
    let machine = Machine::new();
    for (line, answer) in [
        ("foo", "FAIL Unknown command 'foo'"),
        ("", "FAIL Unknown command ''"),
        ("inb", "FAIL inb: port is missing"),
        ("inb zz", "FAIL inb: 'zz' is no port"),
        ("inb 0x10000", "FAIL inb: '0x10000' is no port"),
        ("outb 1", "FAIL outb: value is missing"),
        ("readb 0x10000000000000000", "FAIL readb: '0x10000000000000000' is no address"),
        ("readb +1", "FAIL readb: '+1' is no address"),
        ("readb --1", "FAIL readb: '--1' is no address"),
        ("read 0 0", "FAIL read: the size is at least 1 and at most 16777216 bytes"),
        ("read 0 0xffffffffffffffff", "FAIL read: the size is at least 1 and at most 16777216 bytes"),
        ("memset 0 0x1000001 0", "FAIL memset: the size is at least 1 and at most 16777216 bytes"),
        ("write 0 1 0x", "ERR invalid argument size"),
        ("write 0 1", "FAIL write: data is missing"),
        ("b64write 0 1 *", "FAIL b64write: the data are not in base64"),
        ("set_irq_in ioapic x 0x100000000 1", "FAIL the device has no input 'x' number 4294967295"),
    ] {
        assert_eq!(execute(line, &machine), answer, "{line}");
    }
    assert_eq!(machine.log(), Vec::<String>::new());
    // The end of the address space, and numbers that are no text.
    for line in ["readq 0xffffffffffffffff", "memset 0xffffffffffffffff 16 1", "write -1 2 0xzz", "inb \u{fffd}"] {
        execute(line, &machine);
    }
}

struct Fixture {
    host: MemoryChar,
    machine: Machine,
    server: QtestServer,
}

impl Fixture {
    fn new() -> Self {
        let (host, machine) = (MemoryChar::default(), Machine::new());
        let log = QtestLog::open(Some(std::path::Path::new("none"))).unwrap();
        let server = QtestServer::new(Box::new(host.clone()), Box::new(machine.clone()), log);
        Self { host, machine, server }
    }

    fn ask(&mut self, text: &str) -> String {
        self.server.receive(text.as_bytes());
        String::from_utf8(self.host.take_output()).unwrap()
    }
}

#[test]
fn interrupts_are_told_before_the_answer_to_what_caused_them() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ask("outb 7 1\noutb 7 0\n"), "IRQ raise 7\nOK\nIRQ lower 7\nOK\n");
    // One that comes by itself is told as soon as the main loop has a moment.
    lock(&fixture.machine.0).interrupts.push(IrqChange { pin: 4, level: true });
    fixture.server.settle();
    assert_eq!(fixture.ask(""), "IRQ raise 4\n");
}

#[test]
fn a_reset_has_happened_when_it_is_answered() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ask("outb 0xcf9 6\ninb 1\n"), "");
    assert_eq!(fixture.server.can_receive(), 0);
    lock(&fixture.machine.0).busy = false;
    fixture.server.settle();
    assert_eq!(fixture.ask(""), "IRQ raise 3321\nOK\nOK 0x0001\n");
}

#[test]
fn lines_come_in_pieces_and_have_a_limit() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ask("in"), "");
    assert_eq!(fixture.ask("b 0x"), "");
    assert_eq!(fixture.ask("10\r\ninb 1\n"), "OK 0x0010\nOK 0x0001\n");
    let piece = "x".repeat(64 << 10);
    for _ in 0..=LONGEST_LINE / piece.len() {
        assert_eq!(fixture.ask(&piece), "");
    }
    assert_eq!(fixture.ask("\ninb 2\n"), format!("FAIL a line has at most {LONGEST_LINE} bytes\nOK 0x0002\n"));
}

#[test]
fn a_client_that_does_not_read_is_waited_for_and_the_next_one_starts_afresh() {
    let mut fixture = Fixture::new();
    fixture.host.set_room(Some(2));
    fixture.server.receive(b"inb 1\ninb 2\n");
    assert_eq!(fixture.server.can_receive(), 0);
    fixture.host.set_room(None);
    fixture.server.event(CharEvent::Writable);
    assert_eq!(fixture.ask(""), "OK 0x0001\nOK 0x0002\n");
    fixture.ask("inb 0x7");
    fixture.server.event(CharEvent::Closed);
    fixture.server.event(CharEvent::Opened);
    assert_eq!(fixture.ask("1\n"), "FAIL Unknown command '1'\n");
}

#[test]
fn a_client_that_does_not_read_is_told_of_interrupts_up_to_a_limit() {
    let mut fixture = Fixture::new();
    fixture.host.set_room(Some(0));
    let tell = |fixture: &mut Fixture| {
        let changes = (0..10_000).map(|n| IrqChange { pin: 4, level: n % 2 == 0 });
        lock(&fixture.machine.0).interrupts = changes.collect();
        fixture.server.settle();
    };
    (0..100).for_each(|_| tell(&mut fixture));
    fixture.host.set_room(None);
    fixture.server.event(CharEvent::Writable);
    let told = fixture.ask("").len();
    assert!((1 << 20..(1 << 20) + 200_000).contains(&told), "{told}");
    tell(&mut fixture);
    assert!(fixture.ask("").starts_with("IRQ raise 4\n"));
}

#[test]
fn the_log_tells_both_sides_with_the_time() {
    let path = std::env::temp_dir().join(format!("natoma-{}-qtest-log", std::process::id()));
    let (host, machine) = (MemoryChar::default(), Machine::new());
    let log = QtestLog::open(Some(&path)).unwrap();
    let mut server = QtestServer::new(Box::new(host), Box::new(machine), log);
    server.event(CharEvent::Opened);
    server.receive(b"outb 7 1\n");
    server.event(CharEvent::Closed);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<_> = text.lines().map(|line| line.split_once("] ").unwrap()).collect();
    let said: Vec<_> = lines.iter().map(|(head, said)| (&head[..3], *said)).collect();
    assert_eq!(
        said,
        [("[I ", "OPENED"), ("[R ", "outb 7 1"), ("[S ", "IRQ raise 7"), ("[S ", "OK"), ("[I ", "CLOSED")]
    );
}
