//! What a monitor takes beside the guest's memory: RAM while the guest runs, and the size of the program.

use std::env;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::monitor::{Monitor, Monitors, QEMU, RAM_MIB};
use crate::options::Options;
use crate::report::{Bound, Measurement, Report};
use crate::start::for_each;
use crate::watch::Watched;

const RESIDENT: &str = "resident-memory";
const PROPORTIONAL: &str = "proportional-memory";
const BINARY: &str = "binary-size";

const LIMIT: Duration = Duration::from_secs(120);
/// How long after the guest's first instruction to look: it initialises its console, then spins, and so does nothing
/// more to its monitor.
const SETTLED: Duration = Duration::from_secs(1);
const SPIN: &str = "spin count=1000000000000";

/// Measures what is wanted of it.
pub fn measure(monitors: &Monitors, options: &Options, report: &mut Report) -> Result<()> {
    let (natoma, qemu) = (Monitor::Natoma.name(), Monitor::Qemu.name());
    let with_devices: Vec<_> = monitors.all().into_iter().filter(|monitor| *monitor != Monitor::Bare).collect();
    if options.wants(RESIDENT) || options.wants(PROPORTIONAL) {
        let mut resident = Measurement::new(RESIDENT, "KiB");
        let mut proportional = Measurement::new(PROPORTIONAL, "KiB");
        for_each(
            &with_devices,
            options.runs,
            |_| true,
            |monitor| {
                let mut watched =
                    Watched::spawn(monitors.marked_guest(monitor, env!("NATOMA_GUEST_BENCH"), SPIN), LIMIT)?;
                watched.first_byte()?;
                thread::sleep(SETTLED);
                let usage = Usage::of(watched.id())?;
                resident.push(monitor.name(), usage.resident);
                proportional.push(monitor.name(), usage.proportional);
                Ok(())
            },
        )?;
        report.add(resident, &[(natoma, qemu, Some(Bound::AtMost(0.25)))]);
        report.add(proportional, &[(natoma, qemu, Some(Bound::AtMost(0.25)))]);
    }
    if options.wants(BINARY) {
        let mut measurement = Measurement::new(BINARY, "KiB");
        for monitor in with_devices {
            if let Some(size) = binary_size(monitors, monitor) {
                measurement.push(monitor.name(), size as f64 / 1024.0);
            }
        }
        report.add(measurement, &[(natoma, qemu, None)]);
    }
    Ok(())
}

/// Memory of a process in KiB, without what holds the guest's RAM.
struct Usage {
    /// Everything it has in memory, shared libraries included.
    resident: f64,
    /// The same with shared pages divided by the number of processes that share them.
    proportional: f64,
}

impl Usage {
    /// Reads it from `/proc/PID/smaps`. The guest's RAM is the mapping that is as large as it.
    fn of(process: u32) -> Result<Self> {
        let path = format!("/proc/{process}/smaps");
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        let mut usage = Self { resident: 0.0, proportional: 0.0 };
        let (mut counts, mut guest_mappings) = (true, 0);
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':').filter(|(key, _)| !key.contains(' ')) else {
                // The head of a mapping, such as `7f7f40600000-7f7f48600000 rw-p 00000000 00:00 0`.
                continue;
            };
            let Some(kib) = value.trim().strip_suffix(" kB").and_then(|number| number.parse::<u32>().ok()) else {
                continue;
            };
            match key {
                "Size" => {
                    counts = u64::from(kib) != RAM_MIB << 10;
                    guest_mappings += usize::from(!counts);
                }
                "Rss" if counts => usage.resident += f64::from(kib),
                "Pss" if counts => usage.proportional += f64::from(kib),
                _ => {}
            }
        }
        ensure!(guest_mappings == 1, "{guest_mappings} mappings of {path} are as large as the guest's RAM");
        Ok(usage)
    }
}

/// Bytes of the program itself, without shared libraries.
fn binary_size(monitors: &Monitors, monitor: Monitor) -> Option<u64> {
    let path = match monitor {
        Monitor::Natoma => monitors.natoma.to_owned(),
        Monitor::Qemu => env::split_paths(&env::var_os("PATH")?).map(|it| it.join(QEMU)).find(|path| path.exists())?,
        Monitor::Bare => return None,
    };
    Some(fs::metadata(path).ok()?.len())
}
