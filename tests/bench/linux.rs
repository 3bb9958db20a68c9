//! How much longer Linux takes to its shell with ACPI than without.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::monitor::{Monitor, Monitors};
use crate::options::Options;
use crate::report::{Bound, Measurement, Report};
use crate::watch::Watched;

const LINUX: &str = "linux-to-shell";
/// What the test kernel's init says before it starts the shell.
const READY: &str = "natoma-test: shell ready";
/// Where ring 0 is emulated a boot takes most of a minute, or more when the host is busy.
const LIMIT: Duration = Duration::from_secs(600);

/// Measures it if it was asked for.
pub fn measure(monitors: &Monitors, options: &Options, report: &mut Report) -> Result<()> {
    let Some(rounds) = options.linux.filter(|_| options.wants(LINUX)) else { return Ok(()) };
    let directory = env::var_os("NATOMA_TEST_KERNEL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-kernel"), PathBuf::from);
    let (kernel, initrd) = (directory.join("vmlinux-up"), directory.join("initramfs.cpio"));
    if !kernel.exists() || !initrd.exists() {
        eprintln!("SKIPPED: {LINUX}: resources/test-kernel/build.sh has not built {}", kernel.display());
        return Ok(());
    }
    let mut measurement = Measurement::new(LINUX, "s");
    for _ in 0..rounds {
        for (subject, append) in [("acpi=on", "console=ttyS0"), ("acpi=off", "console=ttyS0 acpi=off")] {
            let mut command = monitors.command(Monitor::Natoma);
            command.arg("-kernel").arg(&kernel).arg("-initrd").arg(&initrd);
            command.args(["-append", append, "-serial", "stdio", "-no-reboot"]);
            let mut watched = Watched::spawn(command, LIMIT)?;
            watched.line_with(READY)?;
            measurement.push(subject, watched.elapsed().as_secs_f64());
        }
    }
    report.add(measurement, &[("acpi=on", "acpi=off", Some(Bound::AtMost(1.2)))]);
    Ok(())
}
