//! What a monitor takes beside the guest's memory: RAM while the guest runs, and the size of the program.

use std::env;
use std::fs;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

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
    /// Reads it from `/proc/PID/smaps`.
    fn of(process: u32) -> Result<Self> {
        let path = format!("/proc/{process}/smaps");
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        let mappings = Mapping::parse(&text);
        let ram = guest_ram(&mappings).with_context(|| format!("{path} shows no mapping of the guest's RAM"))?;
        let others = || mappings[..ram.start].iter().chain(&mappings[ram.end..]);
        Ok(Self {
            resident: others().map(|mapping| mapping.resident).sum(),
            proportional: others().map(|mapping| mapping.proportional).sum(),
        })
    }
}

/// One mapping of a process: addresses, and KiB in memory.
#[derive(Default)]
struct Mapping {
    start: u64,
    end: u64,
    resident: f64,
    proportional: f64,
}

impl Mapping {
    fn parse(smaps: &str) -> Vec<Self> {
        let mut mappings: Vec<Self> = Vec::new();
        for line in smaps.lines() {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            // A mapping begins like `7f7f40600000-7f7f48600000 rw-p`; its properties follow, like `Rss:      4 kB`.
            if let Some((start, end)) = first.split_once('-') {
                let address = |text| u64::from_str_radix(text, 16).unwrap_or_default();
                mappings.push(Self { start: address(start), end: address(end), ..Self::default() });
            } else if let Some(mapping) = mappings.last_mut() {
                let kib = || rest.trim().strip_suffix(" kB").and_then(|number| number.parse().ok()).unwrap_or_default();
                match first {
                    "Rss:" => mapping.resident = kib(),
                    "Pss:" => mapping.proportional = kib(),
                    _ => {}
                }
            }
        }
        mappings
    }
}

/// The mappings that hold the guest's RAM: neighbours that are as large as it together.
fn guest_ram(mappings: &[Mapping]) -> Option<Range<usize>> {
    (0..mappings.len()).find_map(|first| {
        let neighbours = mappings[first..].windows(2).take_while(|pair| pair[0].end == pair[1].start).count();
        let last =
            (first..=first + neighbours).find(|last| mappings[*last].end - mappings[first].start == RAM_MIB << 20)?;
        Some(first..last + 1)
    })
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
