//! Linux's own drivers on the devices that a PC has beside clocks and consoles, and what is seen of their work from outside.
//!
//! What the guest's shell has no applet for its program `probe` does (resources/test-kernel/probe.c).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::guest::{COMMAND_LIMIT, FULL, Guest};
use crate::{check_log, end};

/// What is there when each driver has found its device.
const PROBED: &[&str] = &[
    "/sys/bus/serio/drivers/atkbd/serio*",
    "/sys/bus/serio/drivers/psmouse/serio*",
    "/sys/bus/platform/drivers/floppy/floppy.0",
    "/sys/bus/pnp/drivers/parport_pc/00:*",
    "/sys/bus/pnp/drivers/rtc_cmos/00:*",
    "/sys/bus/pnp/drivers/serial/00:*",
    "/sys/bus/pci/drivers/serial/0000:*",
    "/sys/bus/pci/drivers/piix4_smbus/0000:00:01.3",
    "/sys/bus/pci/drivers/i6300ESB*/0000:*",
    "/sys/bus/pci/drivers/pvpanic-pci/0000:*",
    "/sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00",
    "/dev/fd0",
    "/dev/hpet",
    "/dev/i2c-0",
    "/dev/lp0",
    "/dev/rtc0",
    "/dev/watchdog",
];

/// How often periodic interrupts are to come. Where the guest's kernel is interpreted it takes up to ten milliseconds to see to
/// one of the RTC's, as it reads the time at each.
const HZ: u32 = 32;
/// How long interrupts are counted.
const COUNTED: Duration = Duration::from_secs(20);
/// How far their rate may be off, in parts of one. Where the guest's kernel is interpreted it is some milliseconds late at
/// each end, and on a busy host some have yet to be made up for at the end.
const RATE_TOLERANCE: f64 = 0.01;
/// The same for the host's time, which is taken when lines of the guest arrive.
const HOST_TOLERANCE: f64 = 0.01;
/// Linux gives out timers of the HPET only if they can be routed to inputs of the I/O APIC that no ISA device has: 2 as always, and
/// 20 to 23.
const HPET_ROUTES: &str = "hpet.hpet-intcap=0xf00004";
/// A 1.44 MB floppy.
const FLOPPY: usize = 1_474_560;
/// Linux waits for the end of 160 formatted tracks one by one.
const FORMAT_LIMIT: Duration = Duration::from_secs(240);

/// 12:34:00 on the 29th of February 2040, in seconds since 1970.
const LEAP_DAY: f64 = 2_214_131_640.0;

/// Checks what a command prints.
fn check_says(guest: &mut Guest, command: &str, expected: &str) {
    let said = guest.run(command);
    guest.check(said == expected, || format!("{command}: {said:?} instead of {expected:?}"));
}

/// The two numbers on both sides of some words.
fn numbers(text: &str, between: &str) -> Option<(f64, f64)> {
    let (first, second) = text.split_once(between)?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// Counts a device's periodic interrupts and checks that they come as often as they are programmed to.
fn check_interrupts(guest: &mut Guest, device: &str) {
    guest.begin(&format!("probe {device} {HZ} {}", COUNTED.as_secs()));
    let (_, first) = guest.expect("from here\n");
    let (counted, last) = guest.expect(" s\n");
    guest.finish(COMMAND_LIMIT);
    let Some((count, seconds)) = numbers(&counted, " interrupts in ") else {
        guest.fail(&format!("probe {device} says {counted:?}"))
    };
    let host = (last - first).as_secs_f64();
    let measured = format!("{device} at {HZ} Hz: {count} interrupts in {seconds} s, {host:.3} s of the host's");
    eprintln!("{measured}");
    let expected = count / f64::from(HZ);
    guest.check((expected / seconds - 1.0).abs() <= RATE_TOLERANCE, || format!("the rate is wrong: {measured}"));
    guest.check((expected / host - 1.0).abs() <= HOST_TOLERANCE, || format!("the guest's time is wrong: {measured}"));
}

/// Has a timer of the HPET interrupt periodically, and checks that the interrupts keep to the multiples of the period. Those of
/// periods in which the host does not let the guest run may be missing: the timer is level triggered.
fn check_hpet(guest: &mut Guest) {
    const HZ: f64 = 2.0;
    const SECONDS: u32 = 20;
    const MOST_MISSING: f64 = 8.0;
    /// Seconds, between the first and the second half of the time: 1 %.
    const MOST_DRIFT: f64 = 0.1;
    let said = guest.run(&format!("probe hpet {HZ} {SECONDS}"));
    eprintln!("hpet at {HZ} Hz: {said}");
    let Some((count, drift, seconds)) = said
        .split_once(" s, then later by ")
        .and_then(|(rate, drift)| numbers(rate, " interrupts in ").zip(drift.parse::<f64>().ok()))
        .map(|((count, seconds), drift)| (count, drift, seconds))
    else {
        guest.fail(&format!("probe hpet says {said:?}"))
    };
    guest.check(drift.abs() < MOST_DRIFT, || format!("the HPET's interrupts drift: {said}"));
    // The first one, from which the time is taken, may have been seen nearly a period late.
    let missing = seconds * HZ - count;
    guest.check((-1.0..=MOST_MISSING).contains(&missing), || {
        format!("the rate of the HPET's interrupts is wrong: {said}")
    });
}

/// Checks that the RTC's update interrupt comes once a second.
fn check_updates(guest: &mut Guest) {
    let said = guest.run("probe updates 5");
    let Some((count, seconds)) = said.strip_suffix(" s").and_then(|said| numbers(said, " updates in ")) else {
        guest.fail(&format!("probe updates says {said:?}"))
    };
    guest.check((seconds - count).abs() < 0.5, || format!("the RTC's update interrupts: {said}"));
}

/// Sets the RTC from the system's time and the system's time from the RTC.
fn check_hwclock(guest: &mut Guest) {
    let set = Instant::now();
    guest.run("date -u -s '2040-02-29 12:34:00' && hwclock -u -w && date -u -s '2030-01-01 00:00:00'");
    let read = guest.run("hwclock -u -r");
    guest.check(read.contains("Feb 29 12:3") && read.contains(" 2040 "), || format!("hwclock reads {read}"));
    let rtc = guest.run("cat /sys/class/rtc/rtc0/since_epoch");
    let system = guest.run("hwclock -u -s && date -u +%s");
    // It may be set to the next second, and shows only whole ones.
    let expected = LEAP_DAY - 1.0..=LEAP_DAY + set.elapsed().as_secs_f64() + 1.0;
    for (clock, shown) in [("RTC", rtc), ("system's clock", system)] {
        let right = shown.parse::<f64>().is_ok_and(|seconds| expected.contains(&seconds));
        guest.check(right, || format!("the {clock} shows {shown}, which is not in {expected:?}"));
    }
}

/// The lines that `seq` prints.
fn sequence(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// A floppy disk that is not formatted: every byte is one that formatting replaces.
fn raw_floppy(directory: &TempDir) -> PathBuf {
    let image = directory.path().join("floppy.img");
    fs::write(&image, vec![0x55; FLOPPY]).unwrap();
    image
}

/// Formats the floppy, writes two files and reads them from the medium again.
fn use_floppy(guest: &mut Guest) {
    guest.begin("probe format /dev/fd0");
    guest.finish(FORMAT_LIMIT);
    guest.run("mkdir /tmp/a && mount -t vfat /dev/fd0 /tmp/a && mkdir /tmp/a/sub && echo inside > /tmp/a/sub/file.txt");
    guest.run("seq 20000 > '/tmp/a/a long name.txt' && umount /tmp/a && mount -t vfat -o ro /dev/fd0 /tmp/a");
    let sums = guest.run("seq 20000 | md5sum; md5sum < '/tmp/a/a long name.txt'; umount /tmp/a");
    let [written, read] = sums.lines().collect::<Vec<_>>()[..] else { guest.fail(&format!("md5sum says {sums}")) };
    guest.check(written == read, || format!("what was written to the floppy is not read again:\n{sums}"));
}

/// Checks the floppy with programs of the host.
fn check_floppy(image: &Path) {
    let bytes = fs::read(image).unwrap();
    assert_eq!(bytes.len(), FLOPPY);
    assert!(bytes[FLOPPY - 512..].iter().all(|&byte| byte == 0xf6), "the last sector is not formatted");
    let mtools = |program: &str, file: &str| -> Option<String> {
        let output = match Command::new(program).arg("-i").arg(image).arg(file).env("LC_ALL", "C").output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("SKIPPED: {program} does not start: {error} (Debian: mtools)");
                return None;
            }
        };
        assert!(output.status.success(), "{program} {file}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(listed) = mtools("mdir", "::") else { return };
    assert!(listed.contains("a long name.txt") && listed.contains("<DIR>"), "mdir lists\n{listed}");
    assert_eq!(mtools("mtype", "::sub/file.txt").as_deref(), Some("inside\n"));
    assert!(mtools("mtype", "::a long name.txt").is_some_and(|text| text == sequence(20_000)), "the file is another");
}

#[test]
fn drivers_find_their_devices_and_use_them() {
    let directory = tempfile::tempdir().unwrap();
    let floppy = raw_floppy(&directory);
    let [printed, sent] = ["printed", "sent"].map(|name| directory.path().join(name));
    let [floppy_option, printer, card] = [
        format!("if=floppy,format=raw,file={}", floppy.display()),
        format!("file:{}", printed.display()),
        format!("file,id=card,path={}", sent.display()),
    ];
    #[rustfmt::skip]
    let options = [
        "-nographic", "-watchdog-action", "poweroff", "-drive", &floppy_option, "-parallel", &printer, "-chardev", &card,
        "-device", "pci-serial,chardev=card", "-device", "i6300esb", "-device", "ib700", "-device", "pvpanic",
        "-device", "pvpanic-pci", "-global", HPET_ROUTES,
    ];
    let Some(mut guest) = Guest::boot("vmlinux-smp", FULL, &options) else { return };
    // The controller says what keyboard and mouse would. First, because this waits for their drivers to be ready.
    check_says(&mut guest, "probe key", "AT Translated Set 2 keyboard\n30 1\n30 0");
    check_says(&mut guest, "probe mouse", "ImExPS/2 Generic Explorer Mouse\n0 5\n1 -3");
    guest.run(&format!("ls -d {}", PROBED.join(" ")));
    check_says(&mut guest, "probe eeprom 0xa5", "0xa5");
    // A panic, or a crash kernel that takes over.
    let capability = "/sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00/capability \
                      /sys/bus/pci/drivers/pvpanic-pci/0000:*/capability";
    check_says(&mut guest, &format!("cat {capability}"), "3\n3");

    use_floppy(&mut guest);
    check_hpet(&mut guest);
    guest.run("seq 40 > /dev/lp0");
    guest.run("cd /sys/bus/pci/drivers/serial/0000:*/tty; echo over the card > /dev/$(echo *)");
    check_log(&mut guest, &[]);

    // The IB700 has no driver here: 14 at port 443h is two seconds.
    end(guest, "printf '\\016' | dd of=/dev/port bs=1 seek=1091");
    check_floppy(&floppy);
    assert_eq!(fs::read_to_string(printed).unwrap(), sequence(40));
    assert_eq!(fs::read_to_string(sent).unwrap(), "over the card\r\n");
}

/// Without an HPET, which would stand in for the RTC.
#[test]
fn clocks_watchdog_and_panic() {
    /// What the watchdog is set to, in seconds; it is fed for longer.
    const TIMEOUT: u64 = 5;
    #[rustfmt::skip]
    let options = [
        "-nographic", "-no-hpet", "-rtc", "base=utc,driftfix=slew", "-device", "i6300esb", "-device", "pvpanic",
        "-watchdog-action", "reset", "-action", "panic=exit-failure",
    ];
    let Some(mut guest) = Guest::boot("vmlinux-smp", FULL, &options) else { return };
    check_interrupts(&mut guest, "rtc");
    check_updates(&mut guest);
    check_hwclock(&mut guest);

    check_says(&mut guest, "probe bootstatus", "not reset by the watchdog");
    guest.begin(&format!("probe watchdog {TIMEOUT} {}", TIMEOUT + 2));
    let (_, left_alone) = guest.expect("left alone\n");
    guest.expect_shell();
    // It was fed just before.
    let early = Duration::from_secs(TIMEOUT).saturating_sub(left_alone.elapsed());
    guest.check(early < Duration::from_secs(1), || format!("the watchdog came {early:?} early"));
    check_says(&mut guest, "probe bootstatus", "reset by the watchdog");
    // The RTC has gone on.
    check_says(&mut guest, "date -u +%Y-%m-%d", "2040-02-29");
    check_log(&mut guest, &[]);

    let (status, _) = guest.end("echo c > /proc/sysrq-trigger");
    assert_eq!(status.code(), Some(1), "natoma ended with {status} when the guest panicked");
}
