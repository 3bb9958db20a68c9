//! The program as a process: command line in, exit status and text out.

mod kernel;
mod machine;
mod support;

use support::{Outcome, natoma, temporary_directory};

/// Command lines that describe no machine, with what natoma says. Each is one line that names the option and what to do.
const REFUSED: &[(&[&str], &str)] = &[
    (&["-nosuch"], "natoma: -nosuch: there is no such option; -help lists them all"),
    (&["-serail", "stdio"], "natoma: -serail: there is no such option; did you mean 'serial'?"),
    (&["-m"], "natoma: -m: its argument is missing: -m [size=]SIZE"),
    (&["disk.img"], "natoma: drive 'ide0-hd0': can't use the image disk.img: No such file or directory (os error 2)"),
    (&["-nic", "user"], "natoma: -nic user: this is not supported yet; natoma has no network yet; -nic none works"),
    (
        &["-display", "gtk"],
        "natoma: -display gtk: this is not supported yet; natoma has no display yet: use -nographic for a guest on the \
         terminal; -display none works",
    ),
    (&["-machine", "q35"], "natoma: -machine q35: there is no machine 'q35'; natoma has pc"),
    (
        &["-m", "12Q"],
        "natoma: -m 12Q: size=12Q: expected a size below 2^64 bytes: a number with an optional suffix k, M, G, T, P or E \
         (a fraction needs the suffix)",
    ),
    (
        &["-m", "100P"],
        "natoma: -m 100P: this is 112589990684262400 bytes, and x86 has addresses for 4503598553628672 bytes of RAM",
    ),
    (&["-smp", "100000"], "natoma: -smp 100000: cpus=100000: expected a number from 1 to 4096"),
    (
        &["-smp", "4,sockets=3"],
        "natoma: -smp 4,sockets=3: sockets (3) * dies (1) * cores (1) * threads (1) is 3, but the machine is to have 4 CPUs \
         (maxcpus); change one of these, or leave one out to have it inferred",
    ),
    (&["-append", "quiet"], "natoma: -append quiet: this needs a kernel: give one with -kernel FILE"),
    (
        &["-serial", "file:/tmp/x", "-serial", "chardev:x"],
        "natoma: -serial chardev:x: there is no character device 'x': define it with -chardev BACKEND,id=x",
    ),
    (
        &["-device", "isa-debug-exit,iobse=1"],
        "natoma: -device isa-debug-exit,iobse=1: there is no parameter 'iobse' of device 'isa-debug-exit'; did you mean \
         'iobase'?",
    ),
    (
        &["-readconfig", "/nonexistent"],
        "natoma: -readconfig /nonexistent: cannot read the file: No such file or directory (os error 2)",
    ),
    (
        &["-writeconfig", "/nonexistent/file"],
        "natoma: -writeconfig /nonexistent/file: No such file or directory (os error 2)",
    ),
];

#[test]
fn what_describes_no_machine_is_refused_in_one_line() {
    for (arguments, message) in REFUSED {
        let outcome = natoma(arguments);
        assert_eq!(
            outcome,
            Outcome { status: 1, stdout: String::new(), stderr: format!("{message}\n") },
            "{arguments:?}"
        );
    }
}

#[test]
fn a_long_or_binary_argument_is_repeated_in_short_and_clean() {
    let outcome = natoma(&["-serial", &format!("\u{1b}[31m{}", "x".repeat(100_000))]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    assert!(outcome.stderr.starts_with("natoma: -serial \u{fffd}[31mxxx"), "{}", outcome.stderr);
    assert!(outcome.stderr.len() < 1000 && !outcome.stderr.contains('\u{1b}'), "{}", outcome.stderr);
}

#[test]
fn an_argument_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let outcome = natoma(&[std::ffi::OsStr::new("-kernel"), std::ffi::OsStr::from_bytes(b"/tmp/\xff")]);
    assert_eq!(outcome.status, 1);
    assert_eq!(
        outcome.stderr,
        "natoma: /tmp/\u{fffd}: this is not valid UTF-8; give the file another name, or a link to it\n"
    );
}

#[test]
fn help_goes_to_the_standard_output_and_succeeds() {
    for (arguments, text) in [
        (&["-help"][..], "usage: natoma"),
        (&["--help"], "usage: natoma"),
        (&["-h", "-nosuch"], "usage: natoma"),
        (&["-version"], concat!("natoma ", env!("CARGO_PKG_VERSION"))),
        (&["-machine", "help"], "pc-i440fx-7.2"),
        (&["-cpu", "help"], "qemu64"),
        (&["-device", "?"], "isa-debug-exit"),
        (&["-chardev", "socket,help"], "reconnect=N"),
    ] {
        let outcome = natoma(arguments);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(outcome.stdout.contains(text), "{arguments:?}: {}", outcome.stdout);
    }
}

#[test]
fn a_written_configuration_reads_back_to_itself() {
    let directory = temporary_directory("writeconfig");
    let file = directory.join("machine.cfg");
    let file = file.to_str().unwrap();
    let options = [
        "-M",
        "pc,hpet=off",
        "-smp",
        "2",
        "-m",
        "1G",
        "-serial",
        "unix:/tmp/s,server=on,wait=off",
        "-no-reboot",
        "-chardev",
        "ringbuf,id=log,size=64k",
        "-device",
        "isa-debugcon,chardev=log,iobase=0x402",
        "-nodefaults",
    ];
    let silent = Outcome { status: 0, stdout: String::new(), stderr: String::new() };
    assert_eq!(natoma(&[&options[..], &["-writeconfig", file]].concat()), silent);
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written.contains("\n[chardev \"log\"]\n  backend = \"ringbuf\"\n  size = \"64k\"\n"), "{written}");
    let printed = natoma(&["-readconfig", file, "-writeconfig", "-"]);
    assert_eq!(printed, Outcome { stdout: written, ..silent });
}

#[test]
fn the_reference_of_options_is_up_to_date() {
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md")).unwrap();
    let outcome = natoma(&["-manual", "markdown"]);
    assert_eq!(outcome.status, 0);
    assert!(outcome.stdout == committed, "docs/options.md is stale: cargo run -- -manual markdown > docs/options.md");
}
