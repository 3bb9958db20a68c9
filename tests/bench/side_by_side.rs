//! Benchmarks: natoma beside QEMU, and beside a program that makes the same KVM calls and does nothing else.
//!
//! `cargo bench --bench side-by-side` builds natoma for release, runs everything but disks and boots of Linux, prints a table
//! and writes it with all samples to `target/bench/side-by-side.json`; `-- --help` shows what can be chosen.
//! `docs/benchmarks.md` says what is measured and how, and what came out.
//!
//! The three are run in turn, round after round, so that what else the host does meets all of them.

mod bare;
mod disks;
mod exits;
mod linux;
mod memory;
mod monitor;
mod options;
mod report;
mod rom;
mod start;
mod stats;
mod watch;

use std::env;
use std::process::ExitCode;

use anyhow::Result;
use monitor::Monitors;
use options::Options;
use report::Report;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    // This program is also the bare reference, in a process of its own: nothing may come before.
    let result = match arguments.next() {
        Some(first) if first == bare::ARGUMENT => bare::run(arguments),
        // `cargo test --all-targets` runs benchmarks too, without telling them to measure.
        None => {
            eprintln!("SKIPPED: benchmarks run by `cargo bench --bench side-by-side`");
            Ok(true)
        }
        Some(_) => measure(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("side-by-side: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints and writes; `false` if a requirement is missed and that is to be an error.
fn measure() -> Result<bool> {
    let options = Options::parse();
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: /dev/kvm does not exist on this host, so there is nothing to measure");
        return Ok(true);
    }
    let monitors = Monitors::find()?;
    let mut report = Report::new(&monitors);
    for group in [start::measure, exits::measure, memory::measure, linux::measure, disks::measure] {
        group(&monitors, &options, &mut report)?;
    }
    report.write(&options.json)?;
    print!("{report}");
    println!("\nAll samples: {}", options.json.display());
    Ok(report.meets_requirements() || !options.check)
}
