//! Linux suspends to RAM and comes back, through firmware: by the RTC's alarm, and by the monitor.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::guest::{FULL, Guest};
use crate::{check_log, check_processors, end};

const FIRMWARE: &str = "/usr/share/seabios/bios-256k.bin";
/// How long the alarm lets the machine sleep, in seconds.
const ALARM: u64 = 8;
/// Suspending and resuming takes half a minute where the guest's kernel is interpreted.
const LIMIT: Duration = Duration::from_secs(240);
/// How often the monitor is asked.
const POLL: Duration = Duration::from_millis(50);
/// What Linux says when 200 milliseconds pass before it has seen the mouse's answer, which is there at once: where its kernel is
/// interpreted and the host is busy.
const SLOW: [&str; 1] = ["psmouse serio1: Failed to disable mouse"];
/// Ctrl-A c: from the guest's console to the monitor and back.
const SWITCH: &str = "\x01c";

/// What the guest's kernel has come back from so often.
fn check_wakes(guest: &mut Guest, count: u32) {
    let wakes = guest.run("dmesg | grep -c 'Waking up from system sleep state S3'");
    guest.check(wakes == count.to_string(), || format!("the kernel has come back {wakes} times instead of {count}"));
}

/// Asks the monitor for the machine's status until it is that.
fn wait_for_status(guest: &mut Guest, status: &str) {
    let start = Instant::now();
    loop {
        guest.send("info status\n");
        guest.expect("VM status: ");
        let (shown, _) = guest.expect("\n");
        if shown.trim() == status {
            return;
        }
        guest.check(start.elapsed() < LIMIT, || format!("the machine is {shown} instead of {status}"));
        thread::sleep(POLL);
    }
}

/// What was set up before is there, and the devices work.
fn check_machine(guest: &mut Guest) {
    check_processors(guest, 2);
    let kept = guest.run("cat /tmp/kept");
    guest.check(kept == "in memory", || format!("the guest's memory has {kept:?}"));
    let key = guest.run("probe key");
    guest.check(key.ends_with("30 1\n30 0"), || format!("the keyboard says {key:?}"));
}

#[test]
fn linux_sleeps_and_wakes() {
    if !Path::new(FIRMWARE).exists() {
        eprintln!("SKIPPED: {FIRMWARE} is not installed (Debian: seabios)");
        return;
    }
    let options = ["-nographic", "-bios", FIRMWARE, "-smp", "2"];
    let Some(mut guest) = Guest::boot("bzImage-smp", FULL, &options) else { return };
    guest.run("echo in memory > /tmp/kept");

    let slept = Instant::now();
    guest.begin(&format!("rtcwake -m mem -s {ALARM}"));
    guest.finish(LIMIT);
    // The RTC counts whole seconds.
    guest.check(slept.elapsed().as_secs() >= ALARM - 1, || format!("it slept for {:?}", slept.elapsed()));
    check_wakes(&mut guest, 1);
    check_machine(&mut guest);

    guest.begin("echo mem > /sys/power/state && echo awake");
    guest.send(SWITCH);
    wait_for_status(&mut guest, "paused (suspended)");
    guest.send("system_wakeup\n");
    wait_for_status(&mut guest, "running");
    guest.send(SWITCH);
    // The monitor's prompt is before it.
    guest.expect("awake\n");
    guest.finish(LIMIT);
    check_wakes(&mut guest, 2);
    check_machine(&mut guest);
    check_log(&mut guest, &SLOW);
    end(guest, "poweroff -f");
}
