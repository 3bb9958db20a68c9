//! How soon the guest begins, and how soon it is all over.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::bare;
use crate::monitor::{Monitor, Monitors};
use crate::options::Options;
use crate::report::{Bound, Measurement, Report};
use crate::watch::Watched;

const FIRST_INSTRUCTION: &str = "first-instruction";
/// What the bare reference is called that makes no call too many.
const FEWEST_CALLS: &str = "bare, fewest calls";
const POWER_OFF: &str = "power-off";
const TOUR: &str = "tour";
const BOOT_ATTEMPT: &str = "boot-attempt";

/// QEMU's firmware alone can take seconds where ring 0 is emulated.
const LIMIT: Duration = Duration::from_secs(120);
/// Runs that take seconds are not repeated more often than this.
const FEW: usize = 3;

/// Measures what is wanted of it.
pub fn measure(monitors: &Monitors, options: &Options, report: &mut Report) -> Result<()> {
    let (natoma, qemu, bare) = (Monitor::Natoma.name(), Monitor::Qemu.name(), Monitor::Bare.name());
    if options.wants(FIRST_INSTRUCTION) {
        let mut measurement = Measurement::new(FIRST_INSTRUCTION, "ms");
        for_each(
            &monitors.all(),
            options.runs,
            |_| false,
            |monitor| {
                let mut watched = Watched::spawn(monitors.first_instruction(monitor), LIMIT)?;
                measurement.push(monitor.name(), milliseconds(watched.first_byte()?));
                if monitor == Monitor::Bare {
                    let fewest_calls = bare::fewest_calls(monitors.command(monitor));
                    measurement.push(FEWEST_CALLS, milliseconds(Watched::spawn(fewest_calls, LIMIT)?.first_byte()?));
                }
                Ok(())
            },
        )?;
        let ratios = [
            (qemu, natoma, Some(Bound::AtLeast(3.0))),
            (natoma, bare, Some(Bound::AtMost(1.3))),
            (natoma, FEWEST_CALLS, None),
        ];
        report.add(measurement, &ratios);
    }
    let guests = [(POWER_OFF, env!("NATOMA_GUEST_BENCH"), "poweroff"), (TOUR, env!("NATOMA_GUEST_TOUR"), "")];
    for (name, guest, append) in guests {
        if !options.wants(name) {
            continue;
        }
        let mut measurement = Measurement::new(name, "ms");
        let monitors_with_acpi: Vec<_> = monitors.all().into_iter().filter(|it| *it != Monitor::Bare).collect();
        for_each(
            &monitors_with_acpi,
            options.runs,
            |monitor| name == TOUR || has_firmware(monitor),
            |monitor| {
                let watched = Watched::spawn(monitors.guest(monitor, guest, append), LIMIT)?;
                measurement.push(monitor.name(), milliseconds(watched.end()?));
                Ok(())
            },
        )?;
        report.add(measurement, &[(qemu, natoma, None)]);
    }
    measure_firmware(monitors, options, report)
}

/// How soon SeaBIOS has set the machine up and tries to boot.
fn measure_firmware(monitors: &Monitors, options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(BOOT_ATTEMPT) {
        return Ok(());
    }
    let (natoma, qemu) = (Monitor::Natoma.name(), Monitor::Qemu.name());
    let mut measurement = Measurement::new(BOOT_ATTEMPT, "ms");
    let pcs: Vec<_> = monitors.all().into_iter().filter(|it| *it != Monitor::Bare).collect();
    // Where ring 0 is emulated the two differ by a few percent, as runs of the same do: this takes all the rounds.
    for_each(
        &pcs,
        options.runs,
        |_| false,
        |monitor| {
            let mut command = monitors.command(monitor);
            command.args(["-machine", "graphics=off", "-serial", "stdio", "-boot", "order=c"]);
            let mut watched = Watched::spawn(command, LIMIT)?;
            watched.line_with("Booting from")?;
            measurement.push(monitor.name(), milliseconds(watched.elapsed()));
            Ok(())
        },
    )?;
    report.add(measurement, &[(qemu, natoma, Some(Bound::AtLeast(1.0)))]);
    Ok(())
}

/// Calls `run` for each of `monitors` in turn, `rounds` times; those for which `slow` holds only in the first [`FEW`].
pub fn for_each(
    monitors: &[Monitor],
    rounds: usize,
    slow: impl Fn(Monitor) -> bool,
    mut run: impl FnMut(Monitor) -> Result<()>,
) -> Result<()> {
    for round in 0..rounds {
        for monitor in monitors.iter().filter(|monitor| round < FEW || !slow(**monitor)) {
            run(*monitor).with_context(|| format!("{}, round {}", monitor.name(), round + 1))?;
        }
    }
    Ok(())
}

/// QEMU with a kernel goes through its firmware first, which takes seconds where ring 0 is emulated.
pub fn has_firmware(monitor: Monitor) -> bool {
    monitor == Monitor::Qemu
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
