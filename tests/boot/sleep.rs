//! Linux suspends to RAM and comes back, through firmware, by the RTC's alarm.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::guest::{FULL, Guest};
use crate::{check_processors, end};

const FIRMWARE: &str = "/usr/share/seabios/bios-256k.bin";
/// How long the alarm lets the machine sleep, in seconds.
const ALARM: u64 = 8;
/// Suspending and resuming takes half a minute where the guest's kernel is interpreted.
const LIMIT: Duration = Duration::from_secs(240);

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
    let wakes = guest.run("dmesg | grep -c 'Waking up from system sleep state S3'");
    guest.check(wakes == "1", || format!("the kernel has come back {wakes} times"));
    check_machine(&mut guest);
    end(guest, "poweroff -f");
}
