//! The `natoma` program: command line, machine, exit status.

use natoma::cli::{self, Request};
use natoma::command_line;
use natoma::tell::tell;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let command_line = command_line::parse(std::env::args_os().skip(1))?;
    for warning in &command_line.warnings {
        tell(format_args!("warning: {warning}"));
    }
    match command_line.request {
        Request::Print(text) => print(&text)?,
        Request::Write { path, text } if path == Path::new("-") => print(&text)?,
        Request::Write { path, text } => {
            fs::write(&path, text).map_err(|error| anyhow::anyhow!("-writeconfig {}: {error}", path.display()))?;
        }
        Request::Run(config) => {
            return Ok(ExitCode::from(natoma::machine::run(&config, cli::CATALOGUE)?.0));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a text. A reader that has seen enough (`natoma -help | head`) is no error.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
