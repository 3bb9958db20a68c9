//! How many exits from the guest a second, counted by the guest and timed by its own clock.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::monitor::{Monitor, Monitors};
use crate::options::Options;
use crate::report::{Bound, Measurement, Report};
use crate::start::{for_each, has_firmware};
use crate::watch::Watched;

const LIMIT: Duration = Duration::from_secs(120);

/// What the guest writes to, by name: a port and an address that nobody claims, the POST code port, and the read-only
/// first register of the HPET.
const WRITES: [(&str, &str); 4] = [
    ("exits-pio-unclaimed", "exits-pio count=20000"),
    ("exits-pio-device", "exits-pio count=20000 port=0x80"),
    ("exits-mmio-unclaimed", "exits-mmio count=20000 size=4"),
    ("exits-mmio-device", "exits-mmio count=20000 size=4 address=0xfed00000"),
];

/// Measures what is wanted of it.
pub fn measure(monitors: &Monitors, options: &Options, report: &mut Report) -> Result<()> {
    let (natoma, qemu, bare) = (Monitor::Natoma.name(), Monitor::Qemu.name(), Monitor::Bare.name());
    for (name, append) in WRITES {
        if !options.wants(name) {
            continue;
        }
        let mut measurement = Measurement::new(name, "exits/s");
        for_each(&monitors.all(), options.runs, has_firmware, |monitor| {
            let command = monitors.guest(monitor, env!("NATOMA_GUEST_BENCH"), append);
            measurement.push(monitor.name(), rate(&Watched::spawn(command, LIMIT)?.line_with("bench mode=")?)?);
            Ok(())
        })?;
        report.add(measurement, &[(natoma, bare, Some(Bound::AtLeast(0.95))), (natoma, qemu, None)]);
    }
    Ok(())
}

/// Writes a second, from the guest's line of results.
fn rate(line: &str) -> Result<f64> {
    let value = |key: &str| -> Option<f64> {
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    let (count, nanoseconds) =
        value("count").zip(value("nanoseconds")).with_context(|| format!("no result: {line}"))?;
    Ok(count / nanoseconds * 1e9)
}
