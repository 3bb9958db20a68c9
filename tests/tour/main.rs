//! natoma without kernel or disk runs the built-in guest: what that shows of the machine, and how it ends.
//!
//! The guest checks what a driver could check by itself. What these tests add is that it saw *this* machine: the one that
//! was asked for on the command line, with the chips of QEMU's `pc`, at the host's time.

use std::{
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The tour takes a fraction of a second; without hardware virtualisation, on a busy host, some seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Runs natoma to its end, which must be a good one, and returns what the guest printed. `None` if there is no KVM.
fn tour(options: &[&str]) -> Option<String> {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: /dev/kvm does not exist on this host, so nothing can run in natoma");
        return None;
    }
    let mut natoma = Command::new(env!("CARGO_BIN_EXE_natoma"))
        .arg("-nographic")
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("natoma starts");
    let mut stdout = natoma.stdout.take().expect("stdout is a pipe");
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut output = Vec::new();
        let result = stdout.read_to_end(&mut output);
        // Nobody listens any more if the time was up.
        let _ = sender.send(());
        result.map(|_| output)
    });
    let in_time = receiver.recv_timeout(TIME_LIMIT).is_ok();
    if !in_time {
        natoma.kill().expect("natoma can be killed");
    }
    let status = natoma.wait().expect("natoma can be waited for");
    let output: io::Result<Vec<u8>> = reader.join().expect("the reader does not panic");
    let text = String::from_utf8_lossy(&output.expect("stdout can be read")).replace('\r', "");
    assert!(in_time, "natoma {options:?} did not end within {TIME_LIMIT:?}. It printed:\n{text}");
    assert!(status.success(), "natoma {options:?} ended with {status}. It printed:\n{text}");
    assert!(!text.contains("FAIL"), "a check of the guest failed under natoma {options:?}:\n{text}");
    assert!(text.contains("\nAll ") && text.contains(" checks passed.\n"), "the tour was cut short:\n{text}");
    Some(text)
}

/// The lines below a heading, without the space around them.
fn section<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(heading));
    assert!(lines.next().is_some(), "no section {heading:?} in:\n{text}");
    lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect()
}

/// The one line that starts like this.
fn line<'a>(lines: &[&'a str], start: &str) -> &'a str {
    let found: Vec<_> = lines.iter().filter(|line| line.starts_with(start)).collect();
    assert_eq!(found.len(), 1, "lines that start with {start:?} among {lines:#?}");
    found[0]
}

fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the host's clock is past 1970");
    i64::try_from(now.as_secs()).expect("the host's clock is sane")
}

/// What `date` makes of a time of day in UTC.
fn seconds_at(date: &str) -> i64 {
    let date = Command::new("date").args(["-u", "+%s", "-d", date]).output().expect("date runs");
    let seconds = String::from_utf8_lossy(&date.stdout);
    seconds.trim().parse().expect("date prints a number")
}

#[test]
fn the_default_machine_is_qemus_pc() {
    let Some(text) = tour(&[]) else { return };

    let memory = section(&text, "Memory");
    assert_eq!(memory[0], "0000000000-000009fbff       639 KiB  usable");
    line(&memory, "0000100000-");
    line(&memory, "127 MiB are usable"); // of 128: less than 1 MiB is lost to the BIOS area and the tables

    let pci = section(&text, "PCI");
    for function in [
        "00:00.0  8086:1237  060000  host bridge",
        "00:01.0  8086:7000  060100  ISA bridge",
        "00:01.3  8086:7113  068000  bridge",
    ] {
        line(&pci, function);
    }

    let acpi = section(&text, "ACPI");
    for table in ["RSDP", "XSDT", "FACP", "APIC", "HPET", "WAET", "DSDT", "FACS"] {
        line(&acpi, table);
    }
    line(&acpi, "power-off is SLP_TYP 0");

    let clocks = section(&text, "Clocks");
    for (counter, hz) in [
        ("kvmclock", "1000000000"),
        ("HPET", "100000000"),
        ("PM timer", "3579545"),
        ("PIT", "1193182"),
        ("LAPIC timer", "1000000000"),
        ("TSC", ""),
    ] {
        let line = line(&clocks, counter);
        assert!(line.ends_with(": ok"), "{line}");
        assert!(line[counter.len()..].trim_start().starts_with(hz), "{line}");
    }

    let processors = section(&text, "Processors");
    line(&processors, "CPU 0   APIC id 0 ");
    line(&processors, "1 of the 1 in the MADT are running: ok");

    let interrupts = section(&text, "Interrupts");
    for source in [
        "PIT at 100 Hz      IRQ 0, I/O APIC pin 2 ",
        "RTC at 1024 Hz     IRQ 8, I/O APIC pin 8 ",
        "COM1, all sent     IRQ 4, I/O APIC pin 4  1 of 1",
        "LAPIC timer, once  local                  1 of 1",
        "HPET for the PIT   IRQ 0, I/O APIC pin 2  1 of 1",
    ] {
        line(&interrupts, source);
    }
    assert!(text.ends_with("Powering off.\n"), "{text}");
}

#[test]
fn the_rtc_has_the_hosts_time() {
    let before = seconds_since_1970();
    let Some(text) = tour(&[]) else { return };
    let after = seconds_since_1970();
    let clocks = section(&text, "Clocks");
    let rtc = line(&clocks, "The RTC has ");
    let date = &rtc["The RTC has ".len()..][.."2000-01-01 00:00:00".len()];
    let shown = seconds_at(date);
    assert!((before - 1..=after + 1).contains(&shown), "{rtc}, while the host's clock went from {before} to {after}");
}

#[test]
fn every_processor_is_started() {
    for (option, places) in [
        ("2", &["package 0 core 0 thread 0", "package 0 core 1 thread 0"][..]),
        ("2,sockets=2", &["package 0 core 0 thread 0", "package 1 core 0 thread 0"]),
        (
            "4,sockets=1,cores=2,threads=2",
            &[
                "package 0 core 0 thread 0",
                "package 0 core 0 thread 1",
                "package 0 core 1 thread 0",
                "package 0 core 1 thread 1",
            ],
        ),
    ] {
        let Some(text) = tour(&["-smp", option]) else { return };
        let processors = section(&text, "Processors");
        for (cpu, place) in places.iter().enumerate() {
            line(&processors, &format!("CPU {cpu:<3} APIC id {cpu:<4} {place}"));
        }
        let count = places.len();
        line(&processors, &format!("{count} of the {count} in the MADT are running: ok"));
        let others = count - 1;
        line(&section(&text, "Interrupts"), &format!("IPI, one to each   other processor        {others} of {others}"));
    }
}

#[test]
fn memory_reaches_beyond_4_gib() {
    let Some(text) = tour(&["-m", "5G"]) else { return };
    let memory = section(&text, "Memory");
    // 5 GiB are more than fits below the hole, so that it starts at 3 GiB and the rest is above 4 GiB.
    line(&memory, "0100000000-017fffffff         2 GiB  usable");
    line(&memory, "5119 MiB are usable, and hold what is written to their ends: ok");
}

/// The board's own 8259s, I/O APIC and PIT: the same interrupts arrive as from the kernel's.
#[test]
fn interrupt_controllers_can_be_outside_the_kernel() {
    for options in [
        &["-machine", "pc,kernel-irqchip=split"][..],
        &["-accel", "kvm,kernel-irqchip=split", "-smp", "2", "-global", "kvm-pit.lost_tick_policy=discard"],
    ] {
        let Some(text) = tour(options) else { return };
        let interrupts = section(&text, "Interrupts");
        line(&interrupts, "PIT at 100 Hz      IRQ 0, I/O APIC pin 2 ");
        line(&interrupts, "RTC at 1024 Hz     IRQ 8, I/O APIC pin 8 ");
        line(&interrupts, "HPET for the PIT   IRQ 0, I/O APIC pin 2  1 of 1");
    }
}

#[test]
fn without_hpet_the_tour_says_so() {
    let Some(text) = tour(&["-machine", "pc,hpet=off"]) else { return };
    line(&section(&text, "Clocks"), "There is no HPET.");
    assert!(!section(&text, "ACPI").iter().any(|line| line.starts_with("HPET")), "{text}");
}

#[test]
fn without_acpi_the_tour_ends_in_a_reset() {
    let Some(text) = tour(&["-no-acpi", "-no-reboot"]) else { return };
    line(&section(&text, "ACPI"), "There are no tables");
    assert!(text.ends_with("No power-off: this machine has no ACPI tables.\nResetting instead.\n"), "{text}");
}
