//! The command line as this program reads it: with the processors that KVM can have.

use std::ffi::OsString;

use crate::cli::{self, CommandLine, CpuCatalogue, Environment, UsageError};
use crate::kvm::cpuid;

/// Reads a command line, without the name of the program.
///
/// # Errors
/// It describes no machine. The message names the option and says what to do.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, UsageError> {
    let cpus = CpuCatalogue {
        models: cpuid::model_names,
        properties: cpuid::property_names,
        check: |cpu| cpuid::check(cpu).map_err(|error| error.to_string()),
    };
    cli::parse(arguments, &Environment { cpus, read_file: &cli::read_file })
}
