//! What came out: a table for people, and everything as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::monitor::{Monitor, Monitors};
use crate::stats::Samples;

/// One thing that was measured with each monitor.
#[derive(Serialize)]
pub struct Measurement {
    /// Its name, by which it can be chosen.
    pub name: &'static str,
    /// What the numbers count.
    pub unit: &'static str,
    /// What came out, by monitor or by what else was varied.
    pub samples: BTreeMap<&'static str, Samples>,
}

impl Measurement {
    /// Nothing measured yet.
    pub fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, samples: BTreeMap::new() }
    }

    /// Adds a sample.
    pub fn push(&mut self, subject: &'static str, sample: f64) {
        self.samples.entry(subject).or_default().push(sample);
    }

    /// Median of `numerator` by median of `denominator`; `None` if one was not measured.
    fn ratio(&self, numerator: &str, denominator: &str) -> Option<f64> {
        let median = |subject| self.samples.get(subject).filter(|samples| !samples.is_empty()).map(Samples::median);
        Some(median(numerator)? / median(denominator)?)
    }
}

/// A bound on a ratio.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

#[derive(Serialize)]
struct Ratio {
    measurement: &'static str,
    of: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Bound>,
}

impl Ratio {
    fn is_met(&self) -> bool {
        self.required.is_none_or(|bound| bound.holds(self.value))
    }
}

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    host: BTreeMap<&'static str, String>,
    measurements: Vec<Measurement>,
    ratios: Vec<Ratio>,
}

impl Report {
    /// Nothing measured yet, on this host.
    pub fn new(monitors: &Monitors) -> Self {
        Self { host: host(monitors), measurements: Vec::new(), ratios: Vec::new() }
    }

    /// Takes a measurement, and the ratios that are to be computed from it: numerator, denominator and bound.
    pub fn add(&mut self, measurement: Measurement, ratios: &[(&str, &str, Option<Bound>)]) {
        for (numerator, denominator, required) in ratios {
            if let Some(value) = measurement.ratio(numerator, denominator) {
                let of = format!("{numerator} / {denominator}");
                self.ratios.push(Ratio { measurement: measurement.name, of, value, required: *required });
            }
        }
        self.measurements.push(measurement);
    }

    /// Whether every ratio that was measured is within its bound.
    pub fn meets_requirements(&self) -> bool {
        self.ratios.iter().all(Ratio::is_met)
    }

    /// Writes everything to `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.host {
            writeln!(f, "{key}: {value}")?;
        }
        writeln!(f, "\n{:<34} {:<8} {:>12} {:>25}  unit", "measurement", "of", "median", "quartiles")?;
        for measurement in &self.measurements {
            for (subject, samples) in &measurement.samples {
                let (low, high) = samples.quartiles();
                let quartiles = format!("{} - {}", figure(low), figure(high));
                let median = figure(samples.median());
                let Measurement { name, unit, .. } = measurement;
                writeln!(f, "{name:<34} {subject:<8} {median:>12} {quartiles:>25}  {unit}")?;
            }
        }
        writeln!(f, "\n{:<34} {:<20} {:>8}  required", "measurement", "ratio of medians", "")?;
        for ratio in &self.ratios {
            let Ratio { measurement, of, value, required } = ratio;
            let verdict = match required {
                None => String::new(),
                Some(bound) => format!("{bound}: {}", if ratio.is_met() { "met" } else { "MISSED" }),
            };
            writeln!(f, "{measurement:<34} {of:<20} {:>8}  {verdict}", figure(*value))?;
        }
        Ok(())
    }
}

/// Three or more significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// What the figures depend on.
fn host(monitors: &Monitors) -> BTreeMap<&'static str, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let modules = ["kvm_amd", "kvm_intel", "kvm_pvm"].into_iter();
    let present: Vec<_> = modules.filter(|module| Path::new("/sys/module").join(module).exists()).collect();
    let version = Command::new(monitors.natoma).arg("-version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    BTreeMap::from([
        ("CPU", format!("{} x {}", num_cpus(), model.unwrap_or("unknown"))),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("KVM module", present.join(", ")),
        ("load average", read("/proc/loadavg")),
        ("natoma", version.unwrap_or_default()),
        (Monitor::Qemu.name(), monitors.qemu_version.clone().unwrap_or_else(|| "not installed".to_owned())),
    ])
}

fn num_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
