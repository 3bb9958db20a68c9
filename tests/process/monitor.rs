//! The human monitor, alone and beside the guest's console.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::json;

use crate::qmp::bench;
use crate::tools::{Guard, Terminal, has_kvm, natoma};

#[test]
fn the_monitor_on_standard_input_follows_commands_in_order() {
    if !has_kvm() {
        return;
    }
    let mut command = natoma(&["-S", "-monitor", "stdio", "-name", "tester"]);
    let mut natoma = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut input = natoma.0.stdin.take().unwrap();
    input.write_all(b"info status\ninfo name\nstop\ncont\nstop\ninfo status\nquit\n").unwrap();
    let mut output = String::new();
    natoma.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    for part in [
        "(qemu) info status\r\nVM status: paused (prelaunch)\r\n(qemu) info name\r\ntester\r\n(qemu) stop\r\n",
        "(qemu) info status\r\nVM status: paused\r\n(qemu) quit",
    ] {
        assert!(output.contains(part), "no {part:?} in {output:?}");
    }
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn the_monitor_looks_into_processors_and_devices() {
    if !has_kvm() {
        return;
    }
    let mut command = natoma(&["-S", "-monitor", "stdio", "-smp", "2"]);
    let mut natoma = Guard::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut input = natoma.0.stdin.take().unwrap();
    let commands = "info registers 1\ninfo registers 2\ninfo lapic\nx/1xb 0x1000\nxp/1xb 0x1000\ninfo pci\nnmi\nquit\n";
    input.write_all(commands.as_bytes()).unwrap();
    let mut output = String::new();
    natoma.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    for part in [
        // The second processor waits at the reset vector.
        "info registers 1\r\n\r\nCPU#1\r\nEAX=00000000 EBX=00000000",
        "\r\nEIP=0000fff0 EFL=00000002 [-------] CPL=0",
        "\r\nCS =f000 ffff0000 0000ffff 00009b00\r\n",
        "info registers 2\r\nError: there is no CPU 2\r\n",
        "dumping local APIC state for CPU 0 \r\n",
        "xp/1xb 0x1000\r\n0000000000001000: 0x",
        "Bus  0, device   1, function 3:\r\n    Bridge: PCI device 8086:7113\r\n",
        "(qemu) nmi\r\n(qemu) quit",
    ] {
        assert!(output.contains(part), "no {part:?} in {output:?}");
    }
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn the_speaker_is_read_in_a_trace_and_in_the_tree_of_devices() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let (mut natoma, mut qtest, mut qmp) = bench(&["-trace", "speaker", "-D", &log.display().to_string()]);
    let mut perform = |lines: &[&str]| {
        for line in lines {
            qtest.say(line);
            assert_eq!(qtest.hear(), "OK");
        }
    };
    // Counter 2 divides 1193182 Hz by 2712; its gate, and the way to the speaker.
    perform(&["outb 0x43 0xb6", "outb 0x42 0x98", "outb 0x42 0x0a", "outb 0x61 0x03"]);
    let tree = qmp.call("human-monitor-command", &json!({ "command-line": "info qtree" }));
    assert!(tree["return"].as_str().is_some_and(|tree| tree.contains("speaker = 440.0 Hz")), "{tree}");
    perform(&["outb 0x61 0x00"]);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "speaker: 440.0 Hz\nspeaker: silence\n");
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn ctrl_a_c_switches_between_console_and_monitor() {
    if !has_kvm() {
        return;
    }
    let mut terminal = Terminal::new();
    let mut natoma = Guard::start(terminal.connect(&mut natoma(&["-S", "-serial", "mon:stdio"])));
    terminal.type_keys(b"\x01h");
    terminal.expect("Ctrl-A c");
    terminal.type_keys(b"\x01c");
    terminal.expect("(qemu) ");
    terminal.type_keys(b"info status\r");
    terminal.expect("VM status: paused (prelaunch)");
    terminal.type_keys(b"\x01c\x01cquit\r");
    assert_eq!(natoma.wait().code(), Some(0));
}

#[test]
fn a_reset_machine_boots_again() {
    if !has_kvm() {
        return;
    }
    let mut terminal = Terminal::new();
    let mut natoma = Guard::start(terminal.connect(&mut natoma(&["-no-shutdown", "-serial", "mon:stdio"])));
    terminal.expect("Powering off");
    terminal.type_keys(b"\x01c");
    terminal.expect("(qemu) ");
    loop {
        terminal.type_keys(b"info status\r");
        if terminal.expect("(qemu) ").contains("paused (shutdown)") {
            break;
        }
    }
    terminal.type_keys(b"system_reset\rcont\r");
    terminal.expect("Powering off");
    terminal.type_keys(b"quit\r");
    assert_eq!(natoma.wait().code(), Some(0));
}
