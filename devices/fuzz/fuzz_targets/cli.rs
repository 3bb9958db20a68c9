//! The command line: arguments separated by line feeds.
#![no_main]
use std::ffi::OsString;

use libfuzzer_sys::fuzz_target;
use natoma::cli::{self, CpuCatalogue, Environment};
use natoma::kvm::cpuid;

fuzz_target!(|text: &str| {
    let cpus = CpuCatalogue {
        models: cpuid::model_names,
        properties: cpuid::property_names,
        check: |cpu| cpuid::check(cpu).map_err(|error| error.to_string()),
    };
    // A file that is read as options holds the command line itself.
    let read_file = |_: &std::path::Path| Ok(text.to_owned());
    let environment = Environment { cpus, read_file: &read_file };
    let _ = cli::parse(text.lines().map(OsString::from), &environment);
});
