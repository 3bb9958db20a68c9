//! What programs and people say to a running machine.

use std::cell::OnceCell;
use std::ffi::OsString;

use natoma::cli::Request;
use natoma::command_line;
use natoma::config::MachineConfig;
use natoma::qtest::QtestMachine;

/// Most bytes that a conversation makes the machine say.
const MOST_OUTPUT: usize = 256 << 20;
/// Longest line that moves the clock: less than a second of guest time, as a year of a fast timer takes its time here, too.
const LONGEST_STEP: usize = "clock_step 999999999".len();

const OPTIONS: [&str; 14] = [
    "-nodefaults",
    "-accel",
    "qtest",
    "-rtc",
    "clock=vm",
    "-m",
    "2",
    "-drive",
    "if=floppy,id=floppy0",
    "-device",
    "pci-bridge,id=b,chassis_nr=1",
    "-device",
    "i6300esb,bus=b,addr=1",
    "-no-shutdown",
];

/// Words of commands that write files of any name, open them for writing, or read all of memory at a user's wish: they are left
/// to the tests.
const DANGEROUS: [&[u8]; 5] = [b"save", b"change", b"sum", b"blockdev-add", b"\\u"];

fn with_machine(act: impl FnOnce(&mut QtestMachine, &MachineConfig)) {
    thread_local! {
        static CONFIG: OnceCell<MachineConfig> = const { OnceCell::new() };
    }
    CONFIG.with(|config| {
        let config = config.get_or_init(|| {
            match command_line::parse(OPTIONS.map(OsString::from)).expect("the options are right").request {
                Request::Run(config) => *config,
                Request::Print(_) | Request::Write { .. } => unreachable!("the options ask for a machine"),
            }
        });
        act(&mut QtestMachine::from_config(config).expect("the machine can be made"), config);
    });
}

/// A QMP client says `text`.
///
/// # Panics
/// The answers are no JSON texts, each on a line.
pub fn qmp(text: &[u8]) {
    if DANGEROUS.iter().any(|word| text.windows(word.len()).any(|window| window == *word)) {
        return;
    }
    with_machine(|machine, config| {
        let mut client = machine.qmp_client(config);
        let heard = machine.qmp(&mut client, text);
        assert!(heard.len() < MOST_OUTPUT, "{} bytes", heard.len());
        let lines = heard.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for line in lines {
            serde_json::from_slice::<serde_json::Value>(line).expect("a JSON text");
        }
        // Whatever was said, the client is still served: a line ends a string, and brackets end what is open.
        let mut open = vec![b'\n'];
        open.extend([b']'; 8]);
        machine.qmp(&mut client, &open);
        let answer = machine.qmp(&mut client, b"\n{\"execute\":\"query-name\"}\n");
        let left = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
        assert!(left > 0 || answer.ends_with(b"{\"return\": {}}\r\n"), "{}", String::from_utf8_lossy(&answer));
    });
}

/// A client of the qtest protocol says these lines.
///
/// # Panics
/// A line is answered by several, or by none.
pub fn qtest(text: &str) {
    with_machine(|machine, _| {
        let too_far = |line: &str| line.trim_start().starts_with("clock_") && line.len() > LONGEST_STEP;
        for line in text.lines().filter(|line| !too_far(line)) {
            let answer = machine.command(line);
            let lines: Vec<_> = answer.lines().filter(|line| !line.starts_with("IRQ ")).collect();
            assert!(
                matches!(lines[..], [line] if line.starts_with("OK") || line.starts_with("FAIL") || line.starts_with("ERR"))
            );
        }
    });
}
